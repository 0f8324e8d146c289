int add(int a, int b);
const char *last(int argc, char **argv);
