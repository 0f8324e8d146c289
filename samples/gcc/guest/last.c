#include "parts.h"

const char *last(int argc, char **argv)
{
	return argv[argc - 1];
}
