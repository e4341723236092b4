import com.sun.tools.javac.api.JavacTaskImpl;
import com.sun.tools.javac.api.JavacTaskPool;
import com.sun.tools.javac.main.Main.Result;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.PrintStream;
import java.io.StringWriter;
import java.io.Writer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.List;
import java.util.stream.Stream;
import javax.tools.JavaCompiler;
import javax.tools.StandardJavaFileManager;
import javax.tools.StandardLocation;
import javax.tools.ToolProvider;

/**
 * A compiler that has started: compiles /tmp/work/Problem.java into /tmp/work/out for each request, with the options
 * of the plain command. Speaks the protocol of codecard/sandbox/inside/servers.py on its standard streams; what the
 * compiler says of a program that it rejects goes to /tmp/.err.
 *
 * First it tries with what it knows already of the platform's classes (the task pool of jshell). That knowledge is
 * given up as soon as a program names classes of its own otherwise than the tests do, or does not compile. Where there
 * was any, such a program is compiled again as the plain command does it, from nothing: that alone is an answer then.
 */
final class CompileServer {
    private static final JavaCompiler COMPILER = ToolProvider.getSystemJavaCompiler();
    private static final PrintStream NOWHERE = new PrintStream(OutputStream.nullOutputStream());
    private static final List<String> OPTIONS = List.of("-encoding", "UTF8", "-proc:none", "-cp", "/usr/share/java/javatuples.jar");
    private static final int TROUBLE = 9;

    private final StandardJavaFileManager files = COMPILER.getStandardFileManager(null, null, null);
    private JavacTaskPool pool = new JavacTaskPool(1);
    private boolean knowing;

    public static void main(String[] arguments) throws Exception {
        PrintStream answer = System.out;
        System.setOut(NOWHERE);
        System.setErr(NOWHERE);
        CompileServer server = new CompileServer();
        server.exercise(Integer.parseInt(arguments[0]));
        answer.print("ready\n");
        answer.flush();
        BufferedReader requests = new BufferedReader(new InputStreamReader(System.in));
        while (requests.readLine() != null) {
            int status = server.compile(Path.of("/tmp/work/Problem.java"), Path.of("/tmp/work/out"));
            answer.print(status + "\n");
            answer.flush();
        }
    }

    private int compile(Path source, Path out) {
        try {
            boolean knew = knowing;
            StringWriter said = new StringWriter();
            Result result = compileWithKnowledge(source, out, said);
            if (!knowing && knew) {
                remove(out);
                result = compileFromNothing(source, out, said = new StringWriter());
            }
            if (!result.isOK()) {
                Files.writeString(Path.of("/tmp/.err"), said.toString().replace(source.toString(), source.getFileName().toString()));
            }
            return result.exitCode;
        } catch (Throwable problem) { // the compiler's own, or no more stack or memory: who knows what is left of it
            Runtime.getRuntime().halt(TROUBLE);
            return TROUBLE;
        }
    }

    /** What was known is known no more unless it compiled, to classes named as those of the tests: such leave nothing behind. */
    private Result compileWithKnowledge(Path source, Path out, Writer said) throws IOException {
        Files.createDirectories(out);
        files.setLocation(StandardLocation.CLASS_OUTPUT, List.of(out.toFile()));
        Result result = pool.getTask(said, files, null, OPTIONS, null, files.getJavaFileObjects(source),
            task -> ((JavacTaskImpl) task).doCall());
        try (Stream<Path> made = Files.walk(out).skip(1)) {
            knowing = result.isOK() && made.allMatch(path -> path.getFileName().toString().matches("Problem(\\$.*)?\\.class"));
        }
        if (!knowing) {
            pool = new JavacTaskPool(1);
        }
        return result;
    }

    private Result compileFromNothing(Path source, Path out, Writer said) throws IOException {
        Files.createDirectories(out);
        try (StandardJavaFileManager own = COMPILER.getStandardFileManager(null, null, null)) {
            List<String> options = Stream.concat(OPTIONS.stream(), Stream.of("-d", out.toString())).toList();
            return ((JavacTaskImpl) COMPILER.getTask(said, own, null, options, null, own.getJavaFileObjects(source))).doCall();
        }
    }

    private void exercise(int times) throws IOException {
        Path folder = Files.createTempDirectory("exercise");
        Path source = folder.resolve("Problem.java");
        Files.copy(Path.of("/opt/codecard/build/Exercise.java"), source);
        for (int i = 0; i < times; i++) {
            compileWithKnowledge(source, folder.resolve("out"), Writer.nullWriter());
        }
        compileFromNothing(source, folder.resolve("out"), Writer.nullWriter());
        remove(folder);
    }

    private static void remove(Path folder) throws IOException {
        try (Stream<Path> all = Files.walk(folder)) {
            all.sorted(Comparator.reverseOrder()).forEach(path -> path.toFile().delete());
        }
    }
}
