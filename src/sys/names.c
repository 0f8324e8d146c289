/* SPDX-License-Identifier: Apache-2.0 */
/* Names that the kernel keeps in one place for all: SysV keys and socket addresses, made private to the instance. */
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

#include "sys/internal.h"

#define SOCKETS_MAX 1024 /* files remembered, the last ones */

struct ipc_key {
	char kind;
	uint32_t key;
};

struct address {
	char *host;
	char guest[128];
	size_t len;
	UT_hash_handle hh;
};

struct kp_names {
	pthread_mutex_t lock;
	struct ipc_key *keys;
	size_t key_count;
	struct address *addresses;
	struct kp_bound {
		dev_t dev;
		ino_t ino;
	} *sockets;
	size_t socket_count;
};

struct kp_names *kp_names_new(void)
{
	struct kp_names *n = kp_calloc(1, sizeof(*n));

	pthread_mutex_init(&n->lock, NULL);
	return n;
}

static void remove_object(const struct ipc_key *k)
{
	int id;

	if (k->kind == 'm' && (id = shmget((key_t)k->key, 0, 0)) >= 0)
		(void)shmctl(id, IPC_RMID, NULL);
	else if (k->kind == 's' && (id = semget((key_t)k->key, 0, 0)) >= 0)
		(void)semctl(id, 0, IPC_RMID);
	else if (k->kind == 'q' && (id = msgget((key_t)k->key, 0)) >= 0)
		(void)msgctl(id, IPC_RMID, NULL);
}

struct kp_names *kp_names_free(struct kp_names *n)
{
	struct address *a, *next;

	if (!n)
		return NULL;
	for (size_t i = 0; i < n->key_count; i++)
		remove_object(&n->keys[i]);
	free(n->keys);
	free(n->sockets);
	HASH_ITER (hh, n->addresses, a, next) {
		HASH_DEL(n->addresses, a);
		free(a->host);
		free(a);
	}
	pthread_mutex_destroy(&n->lock);
	free(n);
	return NULL;
}

uint32_t kp_names_ipc_key(struct kp_engine *e, char kind, uint32_t key)
{
	struct kp_names *n = e->names;
	uint64_t h = kp_hash_add(kp_hash_string(e->instance), key);
	struct ipc_key k;
	bool known = false;

	h ^= h >> 31;
	k = (struct ipc_key){kind, (uint32_t)h ? (uint32_t)h : 1};
	pthread_mutex_lock(&n->lock);
	for (size_t i = 0; i < n->key_count && !known; i++)
		known = n->keys[i].kind == kind && n->keys[i].key == k.key;
	if (!known) {
		n->keys = kp_realloc(n->keys, (n->key_count + 1) * sizeof(*n->keys));
		n->keys[n->key_count++] = k;
	}
	pthread_mutex_unlock(&n->lock);
	return k.key;
}

void kp_names_put_address(struct kp_engine *e, const char *host, const void *guest, size_t len)
{
	struct kp_names *n = e->names;
	struct address *a;

	pthread_mutex_lock(&n->lock);
	HASH_FIND_STR(n->addresses, host, a);
	if (!a) {
		a = kp_calloc(1, sizeof(*a));
		a->host = kp_strdup(host);
		HASH_ADD_KEYPTR(hh, n->addresses, a->host, strlen(a->host), a);
	}
	a->len = KP_MIN(len, sizeof(a->guest));
	memcpy(a->guest, guest, a->len);
	pthread_mutex_unlock(&n->lock);
}

size_t kp_names_get_address(struct kp_engine *e, const char *host, void *buf, size_t size)
{
	struct kp_names *n = e->names;
	struct address *a;
	size_t len = 0;

	pthread_mutex_lock(&n->lock);
	HASH_FIND_STR(n->addresses, host, a);
	if (a && a->len <= size) {
		len = a->len;
		memcpy(buf, a->guest, len);
	}
	pthread_mutex_unlock(&n->lock);
	return len;
}

void kp_names_put_socket(struct kp_engine *e, dev_t dev, ino_t ino)
{
	struct kp_names *n = e->names;

	if (kp_names_has_socket(e, dev, ino))
		return;
	pthread_mutex_lock(&n->lock);
	if (!n->sockets)
		n->sockets = kp_calloc(SOCKETS_MAX, sizeof(*n->sockets));
	n->sockets[n->socket_count++ % SOCKETS_MAX] = (struct kp_bound){dev, ino};
	pthread_mutex_unlock(&n->lock);
}

bool kp_names_has_socket(struct kp_engine *e, dev_t dev, ino_t ino)
{
	struct kp_names *n = e->names;
	bool has = false;

	pthread_mutex_lock(&n->lock);
	for (size_t i = 0; i < KP_MIN(n->socket_count, (size_t)SOCKETS_MAX) && !has; i++)
		has = n->sockets[i].dev == dev && n->sockets[i].ino == ino;
	pthread_mutex_unlock(&n->lock);
	return has;
}
