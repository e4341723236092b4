// Makes a loaded rustc fork once per program: by LD_PRELOAD it stands before its main(), where the libraries are linked
// and relocated, which is a good part of a small compilation, and no thread has been started. Speaks the protocol of
// codecard/sandbox/inside/servers.py on descriptor 3. Each child goes on into main() with the arguments of the server.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { control = 3 };

static void say(const char *text) {
  if (write(control, text, strlen(text)) < 0) _exit(1);
}

static long requested_seconds(void) {
  char line[64];
  size_t length = 0;
  while (length + 1 < sizeof line) {
    if (read(control, line + length, 1) != 1) _exit(0);
    if (line[length++] == '\n') break;
  }
  line[length] = 0;
  return strtol(line + 3, NULL, 10);
}

static void redirect(const char *path, int target) {
  int fd = open(path, O_WRONLY);
  if (fd < 0 || dup2(fd, target) < 0) _exit(1);
  close(fd);
  unlink(path);
}

static void become_compiler(long seconds) {
  redirect("/tmp/.out", 1);
  redirect("/tmp/.err", 2);
  if (chdir("/tmp/work") != 0) _exit(1);
  setsid();
  struct rlimit cpu = {seconds, seconds + 1};
  setrlimit(RLIMIT_CPU, &cpu);
  prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
  char pid[32];
  snprintf(pid, sizeof pid, "%d\n", (int)getpid());
  say(pid);
  close(control);
}

static double seconds_of(struct timeval time) { return time.tv_sec + time.tv_usec / 1e6; }

static void serve(void) {
  unsetenv("LD_PRELOAD");  // for the linker, and for what a program reads of its compiler's environment
  unsetenv("LD_BIND_NOW");
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  say("ready\n");
  for (;;) {
    long seconds = requested_seconds();
    pid_t pid = fork();
    if (pid == 0) {
      become_compiler(seconds);
      return;
    }
    int status = 0;
    struct rusage used = {0};
    if (pid < 0 || wait4(pid, &status, 0, &used) != pid) _exit(1);
    char answer[128];
    snprintf(answer, sizeof answer, "%d %f %f %ld\n", status, seconds_of(used.ru_utime), seconds_of(used.ru_stime),
             used.ru_maxrss);
    say(answer);
  }
}

typedef int Main(int, char **, char **);
typedef int Start(Main *, int, char **, void (*)(void), void (*)(void), void (*)(void), void *);

// What a program's entry point calls once its libraries are ready.
int __libc_start_main(Main *main, int argc, char **argv, void (*init)(void), void (*fini)(void), void (*rtld_fini)(void),
                      void *stack_end) {
  Start *start = (Start *)dlsym(RTLD_NEXT, "__libc_start_main");
  serve();
  return start(main, argc, argv, init, fini, rtld_fini, stack_end);
}
