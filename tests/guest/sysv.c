/* SPDX-License-Identifier: Apache-2.0 */
/* SysV and POSIX IPC: keys and names work inside as outside. */
#include <fcntl.h>
#include <mqueue.h>
#include <semaphore.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

#include "guest.h"

static void shared_memory(key_t key)
{
	struct shmid_ds ds;
	int id, again;
	char *p, *q;

	(void)printf("== shm\n");
	OPENS(shmget(key, 4096, 0600));
	id = OPENS(shmget(key, 4096, IPC_CREAT | IPC_EXCL | 0600));
	OPENS(shmget(key, 4096, IPC_CREAT | IPC_EXCL | 0600));
	again = OPENS(shmget(key, 0, 0));
	(void)printf("the same %d\n", id == again);
	OPENS(shmget(key, 8192, 0));
	p = shmat(id, NULL, 0);
	q = shmat(again, NULL, SHM_RDONLY);
	(void)snprintf(p, 10, "hello");
	(void)printf("through both: %s\n", q);
	if (!fork()) {
		(void)snprintf(p, 10, "child");
		_exit(0);
	}
	wait(NULL);
	CALL(shmctl(id, IPC_STAT, &ds));
	(void)printf("%s, attached %ld, mode %o, size %zu\n", q, (long)ds.shm_nattch, ds.shm_perm.mode & 0777, ds.shm_segsz);
	CALL(shmdt(p));
	CALL(shmdt(q));
	CALL(shmctl(id, IPC_RMID, NULL));
	OPENS(shmget(key, 4096, 0600));
	id = OPENS(shmget(IPC_PRIVATE, 4096, 0600));
	again = OPENS(shmget(IPC_PRIVATE, 4096, 0600));
	(void)printf("two private ones %d\n", id != again);
	CALL(shmctl(id, IPC_RMID, NULL));
	CALL(shmctl(again, IPC_RMID, NULL));
}

static void semaphores(key_t key)
{
	struct sembuf up = {0, 1, 0}, down = {0, -1, 0}, try = {0, -1, IPC_NOWAIT};
	int id, status;
	pid_t pid;

	(void)printf("== sem\n");
	id = OPENS(semget(key, 2, IPC_CREAT | IPC_EXCL | 0600));
	OPENS(semget(key, 3, 0));
	CALL(semop(id, &try, 1));
	pid = fork();
	if (!pid)
		_exit(semop(semget(key, 1, 0), &down, 1) ? 1 : 5);
	(void)usleep(20000);
	CALL(semop(id, &up, 1));
	waitpid(pid, &status, 0);
	(void)printf("child %d\n", WEXITSTATUS(status));
	CALL(semctl(id, 0, GETVAL));
	CALL(semctl(id, 0, IPC_RMID));
}

static void messages(key_t key)
{
	struct {
		long type;
		char text[16];
	} m = {3, "message"};
	int id;

	(void)printf("== msg\n");
	id = OPENS(msgget(key, IPC_CREAT | IPC_EXCL | 0600));
	CALL(msgsnd(id, &m, 8, 0));
	memset(&m, 0, sizeof(m));
	CALL(msgrcv(msgget(key, 0), &m, 16, 3, IPC_NOWAIT));
	(void)printf("%ld %s\n", m.type, m.text);
	CALL(msgrcv(id, &m, 16, 0, IPC_NOWAIT));
	CALL(msgctl(id, IPC_RMID, NULL));
}

static void posix(void)
{
	char shm[64], sem[64], mq[64], buf[64];
	struct mq_attr attr = {.mq_maxmsg = 4, .mq_msgsize = 32};
	mqd_t q, again;
	sem_t *s, *t;
	int fd;

	(void)printf("== posix\n");
	(void)snprintf(shm, sizeof(shm), "/guest-shm-%d", getpid());
	(void)snprintf(sem, sizeof(sem), "/guest-sem-%d", getpid());
	(void)snprintf(mq, sizeof(mq), "/guest-mq-%d", getpid());
	OPENS(shm_open(shm, O_RDWR, 0));
	fd = OPENS(shm_open(shm, O_RDWR | O_CREAT | O_EXCL, 0600));
	OPENS(shm_open(shm, O_RDWR | O_CREAT | O_EXCL, 0600));
	CALL(ftruncate(fd, 8192));
	{
		char *a = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), *b;
		int other = shm_open(shm, O_RDWR, 0);

		b = mmap(NULL, 8192, PROT_READ, MAP_SHARED, other, 0);
		a[5000] = 'x';
		(void)printf("shared %c\n", b[5000]);
	}
	CALL(shm_unlink(shm));
	CALL(shm_unlink(shm));
	s = sem_open(sem, O_CREAT | O_EXCL, 0600, 0);
	t = sem_open(sem, 0);
	(void)printf("sem %d %d same %d\n", s != SEM_FAILED, t != SEM_FAILED, s == t);
	if (!fork()) {
		sem_post(sem_open(sem, 0));
		_exit(0);
	}
	CALL(sem_wait(s));
	CALL(sem_unlink(sem));
	OPENS(sem_open(sem, 0) == SEM_FAILED ? -1 : 0);
	wait(NULL);
	q = OPENS(mq_open(mq, O_RDWR | O_CREAT | O_EXCL, 0600, &attr));
	OPENS(mq_open(mq, O_RDWR | O_CREAT | O_EXCL, 0600, &attr));
	again = OPENS(mq_open(mq, O_RDONLY));
	CALL(mq_send(q, "abc", 4, 1));
	CALL(mq_receive(again, buf, sizeof(buf), NULL));
	CALL(mq_unlink(mq));
	CALL(mq_unlink(mq));
	OPENS(mq_open(mq, O_RDWR));
	OPENS(mq_open("noslash", O_RDWR));
	OPENS(mq_open("/a/b", O_RDWR));
	OPENS(mq_open("/", O_RDWR));
}

int main(int argc, char **argv)
{
	key_t key;

	guest_begin(argc, argv);
	next_set();
	key = ftok("cu", getpid() & 0x7f);
	(void)printf("ftok %d, stable %d, missing %d\n", key != -1, key == ftok("./dir/../cu", getpid() & 0x7f), ftok("absent", 1));
	shared_memory(key);
	semaphores(key);
	messages(key);
	posix();
	return 0;
}
