#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void *work(void *arg)
{
	*(int *)arg = 42;
	return NULL;
}

int main(int argc, char **argv)
{
	struct stat st;
	pthread_t t;
	int n = 0, status = 0;

	pthread_create(&t, NULL, work, &n);
	pthread_join(t, NULL);
	if (fork() == 0)
		_exit(3);
	wait(&status);
	printf("%s %d %d %d\n", argv[argc - 1], n, WEXITSTATUS(status), stat("/etc/greeting", &st));
	return 0;
}
