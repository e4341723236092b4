// Makes a started node fork once per program. Loaded twice, with one state: by LD_PRELOAD, so that its own
// definitions of what node and libuv call stand before theirs, and by server.js as an addon, whose initialisation
// is the fork server.
//
// Only the thread that forks is in the child. V8 is asked for no other (--single-threaded); those that node's
// platform has all the same would be waited for at the end. A child therefore ends where node has settled its exit
// code, before node takes itself apart.

#define _GNU_SOURCE
#include "../common/fork_server.h"
#include "../common/large_pages.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/syscall.h>

#define SPIN_EVENT_LOOP _ZN4node13SpinEventLoopEPNS_11EnvironmentE
#define EXIT_HANDLER _ZN4node25DefaultProcessExitHandlerEPNS_11EnvironmentEi
#define WORKER_THREADS _ZN4node12NodePlatform21NumberOfWorkerThreadsEv
#define POST_TASK _ZN4node23WorkerThreadsTaskRunner8PostTaskESt10unique_ptrIN2v84TaskESt14default_deleteIS3_EE
#define BLOCKING_DRAIN _ZN4node23WorkerThreadsTaskRunner13BlockingDrainEv
#define TEXT(name) #name
#define NODES_OWN(name) dlsym(RTLD_NEXT, TEXT(name))

extern void *uv_default_loop(void);
extern int uv_loop_fork(void *loop);
extern int napi_create_int32(void *environment, int32_t value, void **result);

static int is_program;
static uint64_t (*spin_event_loop)(void *);
static void (*exit_handler)(void *, int);
static void (*post_task)(void *, void **);
static void (*blocking_drain)(void *);

__attribute__((constructor)) static void begin(void) {
  unsetenv("LD_PRELOAD");
  spin_event_loop = NODES_OWN(SPIN_EVENT_LOOP);
  exit_handler = NODES_OWN(EXIT_HANDLER);
  post_task = NODES_OWN(POST_TASK);
  blocking_drain = NODES_OWN(BLOCKING_DRAIN);
}

// V8 keeps its heap out of forks.
int madvise(void *start, size_t length, int advice) {
  return advice == MADV_DONTFORK ? 0 : (int)syscall(SYS_madvise, start, length, advice);
}

static void end(int status) {
  fflush(NULL);
  _exit(status);
}

// v8::Maybe<int> node::SpinEventLoop(node::Environment *): the event loop to its end, 'beforeExit' and 'exit' with it.
// The upper half of the result is the exit code, the lower half says whether there is one.
uint64_t SPIN_EVENT_LOOP(void *environment) {
  uint64_t result = spin_event_loop(environment);
  if (is_program && gettid() == getpid()) end(result & 0xff ? (int)(result >> 32) : 1);  // a worker's loop goes on
  return result;
}

// void node::DefaultProcessExitHandler(node::Environment *, int): the end of process.exit() and of uncaught errors.
void EXIT_HANDLER(void *environment, int status) {
  if (is_program) end(status);
  exit_handler(environment, status);
}

// int node::NodePlatform::NumberOfWorkerThreads()
int WORKER_THREADS(void *platform) {
  (void)platform;
  return 0;
}

// What is given to another thread all the same gets one of its own in a program.
static pthread_mutex_t tasks_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t tasks_done = PTHREAD_COND_INITIALIZER;
static int tasks;

static void *run_task(void *task) {
  void (**methods)(void *) = *(void (***)(void *))task;
  methods[2](task);  // Run, behind the two destructors
  methods[1](task);
  pthread_mutex_lock(&tasks_lock);
  if (--tasks == 0) pthread_cond_broadcast(&tasks_done);
  pthread_mutex_unlock(&tasks_lock);
  return NULL;
}

// void node::WorkerThreadsTaskRunner::PostTask(std::unique_ptr<v8::Task>)
void POST_TASK(void *runner, void **task) {
  if (!is_program) {
    post_task(runner, task);
    return;
  }
  pthread_mutex_lock(&tasks_lock);
  tasks++;
  pthread_mutex_unlock(&tasks_lock);
  pthread_t thread;
  if (pthread_create(&thread, NULL, run_task, *task) == 0) {
    pthread_detach(thread);
  } else {
    run_task(*task);
  }
  *task = NULL;
}

// void node::WorkerThreadsTaskRunner::BlockingDrain()
void BLOCKING_DRAIN(void *runner) {
  if (!is_program) {
    blocking_drain(runner);
    return;
  }
  pthread_mutex_lock(&tasks_lock);
  while (tasks) pthread_cond_wait(&tasks_done, &tasks_lock);
  pthread_mutex_unlock(&tasks_lock);
}

static void become_program(long seconds) {
  is_program = 1;
  begin_program(seconds);
  prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
  if (uv_loop_fork(uv_default_loop()) != 0) _exit(1);
  tell_pid();
}

// The addon's initialisation: returns in each child, never in the server.
void *napi_register_module_v1(void *environment, void *exports) {
  if (is_program) return exports;
  enlarge_code("libnode.so");
  become_program(next_program());
  napi_create_int32(environment, getpid(), &exports);
  return exports;
}
