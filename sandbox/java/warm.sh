# The compile server, and an archive of the classes that it loads at its start.
set -eu
out=/opt/codecard/warm
mkdir -p "$out"
javac -d "$out" /opt/codecard/build/CompileServer.java
java -XX:ArchiveClassesAtExit="$out/server.jsa" -XX:TieredStopAtLevel=1 -cp "$out" CompileServer 3 \
  </dev/null >/dev/null 2>&1 || true
