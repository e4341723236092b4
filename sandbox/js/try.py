"""One program through the fork server whose command is given: fails where it does not come to a good end."""

import os
import socket
import subprocess
import sys

os.makedirs("/tmp/work", exist_ok=True)
with open("/tmp/work/f.js", "w") as file:
    file.write("setTimeout(() => console.log('works'))")
ours, theirs = socket.socketpair()
null = subprocess.DEVNULL
on_3 = ["sh", "-c", 'exec "$@" 3<&0 </dev/null', "sh", *sys.argv[1:]]
server = subprocess.Popen(on_3, stdin=theirs, stdout=null, stderr=null)
theirs.close()
ours.settimeout(30)
with ours, ours.makefile("r") as answers:
    try:
        assert answers.readline() == "ready\n"
        for path in ("/tmp/.out", "/tmp/.err"):
            os.mkfifo(path)
        out, err = (os.open(path, os.O_RDONLY | os.O_NONBLOCK) for path in ("/tmp/.out", "/tmp/.err"))
        ours.sendall(b"go 10\n")
        answers.readline()  # its process id
        status = answers.readline().split()[0]
        assert (status, os.read(out, 100)) == ("0", b"works\n"), (status, os.read(err, 4096))
    finally:
        server.kill()
os.unlink("/tmp/work/f.js")
os.rmdir("/tmp/work")
