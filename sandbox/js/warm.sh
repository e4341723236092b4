# The fork server's addon. Where node is not Debian's, built on a libnode.so, there is no warm way.
set -eu
ldd "$(command -v node)" | grep -q libnode
out=/opt/codecard/warm
mkdir -p "$out"
if ! echo 'int main(void) { return 0; }' | cc -x c - -o /tmp/.probe 2>/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends gcc libc6-dev >/dev/null
  added=yes
fi
cc -O2 -Wall -shared -fPIC /opt/codecard/build/fork_server.c -o "$out/fork_server.so"
if [ "${added:-}" = yes ]; then
  apt-get purge -y -qq --auto-remove gcc libc6-dev >/dev/null
  rm -rf /var/lib/apt/lists/* /var/cache/apt/*
fi
# run_server of language.toml, which the image does not hold
python3 /opt/codecard/build/try.py env LD_PRELOAD="$out/fork_server.so" \
  node --single-threaded --require /opt/codecard/build/server.js /tmp/work/f.js
