# The compile server with an archive of the classes that it loads, and an archive of those that programs load.
set -eu
out=/opt/codecard/warm
build=/opt/codecard/build
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

api=jdk.compiler/com.sun.tools.javac
javac --add-exports "$api.api=ALL-UNNAMED" --add-exports "$api.main=ALL-UNNAMED" -d "$work/server" "$build/CompileServer.java"
jar --create --file "$out/server.jar" -C "$work/server" .
java @"$build/server.args" -XX:SharedArchiveFile= -XX:ArchiveClassesAtExit="$out/server.jsa" CompileServer 3 </dev/null >/dev/null

cp "$build/Exercise.java" "$work/Problem.java"
tuples=/usr/share/java/javatuples.jar
javac -cp "$tuples" -d "$work/out" "$work/Problem.java"
java -Xshare:off -XX:DumpLoadedClassList="$work/loaded" -cp "$work/out:$tuples" Problem >/dev/null
# what programs load in whatever folder they lie, and the platform's own list with it
list=$(dirname "$(dirname "$(readlink -f "$(command -v java)")")")/lib/classlist
grep -v -e Problem -e javatuples "$work/loaded" | cat "$list" - >"$work/list"
java -Xshare:dump -XX:SharedClassListFile="$work/list" -XX:SharedArchiveFile="$out/run.jsa" -XX:+UseG1GC -Xmx512m >/dev/null
test -s "$out/server.jsa"
test -s "$out/run.jsa"
