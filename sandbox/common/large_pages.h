// Code of the server's own on large pages: a fork then has all of it at once, and finds none of it page by page.
#pragma once

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

// The code of whatever is mapped from a file with `name` in its path. What cannot be moved stays where it is.
static inline void enlarge_code(const char *name) {
  enum { page = 2 << 20 };
  FILE *maps = fopen("/proc/self/maps", "r");
  char line[512], rights[8], path[256];
  unsigned long from, to;
  while (maps && fgets(line, sizeof line, maps)) {
    path[0] = 0;
    if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %255s", &from, &to, rights, path) < 3) continue;
    if (strcmp(rights, "r-xp") != 0 || !strstr(path, name)) continue;
    unsigned long first = (from + page - 1) & ~(page - 1UL), last = to & ~(page - 1UL);
    if (first >= last) continue;
    size_t length = last - first;
    char *room = (char *)mmap(NULL, length + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED) continue;
    char *copy = (char *)(((unsigned long)room + page - 1) & ~(page - 1UL));
    madvise(copy, length, MADV_HUGEPAGE);
    memcpy(copy, (void *)first, length);
    if (mprotect(copy, length, PROT_READ | PROT_EXEC) == 0)
      mremap(copy, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)first);
    munmap(room, length + page);
  }
  if (maps) fclose(maps);
}
