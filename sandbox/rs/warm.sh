# The warm build forks from a loaded rustc and links with mold.
set -eu
command -v mold >/dev/null
mkdir -p /opt/codecard/warm
cc -shared -fPIC -O2 /opt/codecard/build/fork_server.c -o /opt/codecard/warm/fork_server.so
