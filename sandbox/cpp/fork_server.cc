// A plugin for cc1plus that makes a compiler which has already read <bits/stdc++.h> fork once per program.
//
// GCC lexes a whole translation unit before it parses any of it, so a precompiled header is the one state of a
// parsed header that exists while the next #include is still to come. server.cpp includes wait.h after that header;
// this plugin stops there and forks. Each child goes on to include /tmp/work/f.cpp and writes its assembly to
// /tmp/work/f.s.

#include "../common/fork_server.h"

#include "gcc-plugin.h"

#include "config.h"
#include "system.h"
#include "coretypes.h"
#include "tree.h"
#include "cp/cp-tree.h"
#include "output.h"

int plugin_is_GPL_compatible;

void register_settle(const char *plugin);  // settle.cc

namespace {

void serve() {
  long seconds = next_program();
  begin_program(seconds);
  redirect("/tmp/work/f.s", O_RDWR | O_CREAT | O_TRUNC, fileno(asm_out_file));
  tell_pid();
}

void on_include(void *file, void *) {
  const char *name = static_cast<const char *>(file);
  const char *base = name ? strrchr(name, '/') : nullptr;
  static bool served = false;
  if (!served && base && strcmp(base, "/wait.h") == 0) {
    served = true;
    serve();
  }
}

}  // namespace

int plugin_init(plugin_name_args *info, plugin_gcc_version *) {
  register_callback(info->base_name, PLUGIN_INCLUDE_FILE, on_include, nullptr);
  register_settle(info->base_name);
  return 0;
}
