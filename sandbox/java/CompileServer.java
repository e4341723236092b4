import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.PrintStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import javax.tools.JavaCompiler;
import javax.tools.StandardJavaFileManager;
import javax.tools.ToolProvider;

/**
 * A compiler that has started: compiles /tmp/work/Problem.java into /tmp/work/out for each request, with the options
 * of the plain command. Speaks the protocol of codecard/sandbox/inside/servers.py on its standard streams. What it cannot
 * compile is judged by the plain command, so its diagnostics go nowhere.
 */
final class CompileServer {
    private static final JavaCompiler COMPILER = ToolProvider.getSystemJavaCompiler();
    private static final PrintStream NOWHERE = new PrintStream(OutputStream.nullOutputStream());

    public static void main(String[] arguments) throws Exception {
        PrintStream answer = System.out;
        System.setOut(NOWHERE);
        System.setErr(NOWHERE);
        Path exercise = Files.createTempDirectory("exercise");
        Path source = exercise.resolve("Problem.java");
        Files.writeString(source, Files.readString(Path.of("/opt/codecard/build/Exercise.java")));
        for (int i = 0; i < Integer.parseInt(arguments[0]); i++) {
            compile(source, exercise.resolve("out"));
        }
        try (var files = Files.walk(exercise)) {
            files.sorted(java.util.Comparator.reverseOrder()).forEach(path -> path.toFile().delete());
        }
        answer.print("ready\n");
        answer.flush();
        BufferedReader requests = new BufferedReader(new InputStreamReader(System.in));
        while (requests.readLine() != null) {
            int status = compile(Path.of("/tmp/work/Problem.java"), Path.of("/tmp/work/out"));
            answer.print(status + "\n");
            answer.flush();
        }
    }

    /** 0 when it compiled, 1 when it did not or the compiler itself failed. Nothing is kept between programs. */
    private static int compile(Path source, Path out) {
        try (StandardJavaFileManager files = COMPILER.getStandardFileManager(null, null, null)) {
            Files.createDirectories(out);
            List<String> options = List.of("-encoding", "UTF8", "-proc:none", "-cp", "/usr/share/java/javatuples.jar",
                "-d", out.toString());
            var task = COMPILER.getTask(new java.io.OutputStreamWriter(NOWHERE), files, null, options, null,
                files.getJavaFileObjects(source.toFile()));
            return task.call() ? 0 : 1;
        } catch (Throwable problem) {
            return 1;
        }
    }
}
