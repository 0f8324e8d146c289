#include <math.h>
#include <stdio.h>

#include "parts.h"

int main(int argc, char **argv)
{
	printf("%d %s %.0f\n", add(argc, 39), last(argc, argv), sqrt(1764.0 + argc - argc));
	return 0;
}
