// Makes a loaded rustc fork once per program: by LD_PRELOAD it stands before its main(), where the libraries are linked
// and relocated, which is a good part of a small compilation, and no thread has been started. Each child goes on into
// main() with the arguments of the server.

#define _GNU_SOURCE
#include "../common/fork_server.h"
#include "../common/large_pages.h"

#include <dlfcn.h>

static void serve(void) {
  unsetenv("LD_PRELOAD");  // for the linker, and for what a program reads of its compiler's environment
  unsetenv("LD_BIND_NOW");
  enlarge_code("librustc_driver");
  enlarge_code("libLLVM");
  begin_program(next_program());
  if (chdir("/tmp/work") != 0) _exit(1);
  prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
  tell_pid();
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
