#include "/opt/codecard/build/wait.h"
#include "/tmp/work/f.cpp"
