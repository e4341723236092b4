# A precompiled <bits/stdc++.h>, the library of what it instantiates, the plugin that makes the compiler fork, and the
# commands that start the one and link what it makes.
set -eu
out=/opt/codecard/warm
build=/opt/codecard/build
mkdir -p "$out/bits"
real=$(echo '#include <bits/stdc++.h>' | g++ -std=c++17 -x c++ -M - | tr ' \\' '\n\n' | grep 'bits/stdc++\.h$')

plugin_headers() { [ -e "$(g++ -print-file-name=plugin)/include/gcc-plugin.h" ]; }
if ! plugin_headers && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "gcc-$(g++ -dumpversion)-plugin-dev" >/dev/null
  added=yes
fi
g++ -shared -fPIC -fno-rtti -O2 -std=c++17 -I"$(g++ -print-file-name=plugin)/include" \
  "$build/fork_server.cc" "$build/settle.cc" -o "$out/fork_server.so"
if [ "${added:-}" = yes ]; then
  apt-get purge -y -qq --auto-remove "gcc-$(g++ -dumpversion)-plugin-dev" >/dev/null
  rm -rf /var/lib/apt/lists/*
fi

# the library, with the plain command's options but for those of a library, and the names of all that is in it
printf '#include "%s"\n#include "%s"\nvoid codecard_exercise_all() { codecard_exercise::all(); }\n' "$real" "$build/exercise.h" |
  g++ -std=c++17 -w -fPIC -fkeep-inline-functions -shared -s -fuse-ld=mold -x c++ - -o "$out/libexercise.so"
for library in "$out/libexercise.so" "$(g++ -print-file-name=libstdc++.so)"; do
  readelf --dyn-syms --wide "$library" |
    awk '$4 == "FUNC" && $5 != "LOCAL" && $7 != "UND" { sub(/@.*/, "", $8); print $8 }'
done >"$out/shared.txt"
grep -q _ZNSt6vectorIiSaIiEE "$out/shared.txt"

# guarded, so that the program's own #include of it costs nothing
printf '#ifndef CODECARD_WARM\n#define CODECARD_WARM\n#include "%s"\n#include "%s"\n#pragma codecard settle\n#endif\n' \
  "$real" "$build/exercise.h" >"$out/bits/stdc++.h"
heap="--param ggc-min-expand=1000 --param ggc-min-heapsize=1000000"
g++ -std=c++17 $heap -fplugin="$out/fork_server.so" -x c++-header "$out/bits/stdc++.h" -o "$out/bits/stdc++.h.gch"

# the compiler proper, with the very options that the driver gives it
g++ -### -std=c++17 -S $heap -I"$out" -include bits/stdc++.h -fplugin="$out/fork_server.so" \
  "$build/server.cpp" -o /tmp/.server.s 2>&1 | grep cc1plus | sed 's/^ */exec /' >"$out/server.sh"
grep -q fork_server "$out/server.sh"

# the linker proper, likewise: 3 is no status of a compiler
ld=$(g++ -### f.o "$out/libexercise.so" -Wl,-rpath,"$out" -o b 2>&1 | grep collect2 |
  sed -E 's/^ *[^ ]*collect2"?//; s/ -plugin [^ ]+//; s/ "?-plugin-opt=[^ ]+//g; s/ --build-id//')
printf 'as f.s -o f.o && mold --no-fork --threads=1 -s%s || exit 3\n' "$ld" >"$out/link.sh"
grep -q libexercise "$out/link.sh"
