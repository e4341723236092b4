# A precompiled <bits/stdc++.h>, the plugin that makes the compiler fork, and the command that starts it.
set -eu
out=/opt/codecard/warm
mkdir -p "$out/bits"
real=$(echo '#include <bits/stdc++.h>' | g++ -std=c++17 -x c++ -M - | tr ' \\' '\n\n' | grep 'bits/stdc++\.h$')
# guarded, so that the program's own #include of it costs nothing
printf '#ifndef CODECARD_WARM\n#define CODECARD_WARM\n#include "%s"\n#endif\n' "$real" >"$out/bits/stdc++.h"
g++ -std=c++17 -x c++-header "$out/bits/stdc++.h" -o "$out/bits/stdc++.h.gch"

plugin_headers() { [ -e "$(g++ -print-file-name=plugin)/include/gcc-plugin.h" ]; }
if ! plugin_headers && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "gcc-$(g++ -dumpversion)-plugin-dev" >/dev/null
  added=yes
fi
g++ -shared -fPIC -fno-rtti -O2 -std=c++17 -I"$(g++ -print-file-name=plugin)/include" \
  /opt/codecard/build/fork_server.cc -o "$out/fork_server.so"
if [ "${added:-}" = yes ]; then
  apt-get purge -y -qq --auto-remove "gcc-$(g++ -dumpversion)-plugin-dev" >/dev/null
  rm -rf /var/lib/apt/lists/*
fi

# the compiler proper, with the very options that the driver gives it
g++ -### -std=c++17 -S --param ggc-min-expand=1000 --param ggc-min-heapsize=1000000 -I"$out" -include bits/stdc++.h -fplugin="$out/fork_server.so" \
  /opt/codecard/build/server.cpp -o /tmp/.server.s 2>&1 | grep cc1plus | sed 's/^ */exec /' >"$out/server.sh"
grep -q fork_server "$out/server.sh"
