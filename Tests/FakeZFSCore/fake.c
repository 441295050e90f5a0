/* SPDX-License-Identifier: BSD-2-Clause */
#include "CFakeZFSCore.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST 64
#define TEXT 8192

struct zfs_core_pair {
	struct zfs_core_pair *next;
	char *name;
	char *string; /* NULL for a name alone, or a number */
	bool is_number;
	int32_t number;
};

struct zfs_core_list {
	struct zfs_core_pair *first;
};

struct answer {
	int status;
	char *errors;
	bool hangs;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t released = PTHREAD_COND_INITIALIZER;
static struct answer answers[MOST];
static int answers_given, answers_used;
static char calls[MOST][TEXT];
static int calls_made;
static int lists;
static int init_status;
/* Hanging calls wait for it to move on. */
static unsigned int releases;

static int list_alloc(struct zfs_core_list **list, unsigned int flags, int unused)
{
	if (flags != ZFS_CORE_UNIQUE_NAME || unused != 0)
		return EINVAL;
	*list = calloc(1, sizeof(**list));
	if (!*list)
		return ENOMEM;
	__atomic_add_fetch(&lists, 1, __ATOMIC_SEQ_CST);
	return 0;
}

static void list_free(struct zfs_core_list *list)
{
	if (!list)
		return;
	while (list->first) {
		struct zfs_core_pair *pair = list->first;

		list->first = pair->next;
		free(pair->name);
		free(pair->string);
		free(pair);
	}
	free(list);
	__atomic_sub_fetch(&lists, 1, __ATOMIC_SEQ_CST);
}

static struct zfs_core_pair *add(struct zfs_core_list *list, const char *name)
{
	struct zfs_core_pair **end = &list->first;

	while (*end)
		end = &(*end)->next;
	*end = calloc(1, sizeof(**end));
	if (*end)
		(*end)->name = strdup(name);
	return *end;
}

static int list_add_boolean(struct zfs_core_list *list, const char *name)
{
	return add(list, name) ? 0 : ENOMEM;
}

static int list_add_string(struct zfs_core_list *list, const char *name, const char *value)
{
	struct zfs_core_pair *pair = add(list, name);

	if (!pair)
		return ENOMEM;
	pair->string = strdup(value);
	return 0;
}

static struct zfs_core_pair *list_next(struct zfs_core_list *list, struct zfs_core_pair *pair)
{
	return pair ? pair->next : list->first;
}

static char *pair_name(struct zfs_core_pair *pair)
{
	return pair->name;
}

static int pair_int32(struct zfs_core_pair *pair, int32_t *value)
{
	if (!pair->is_number)
		return EINVAL;
	*value = pair->number;
	return 0;
}

static int init(void)
{
	return init_status;
}

static void write_down(char *text, struct zfs_core_list *snaps, struct zfs_core_list *props)
{
	size_t used = 0;

	for (struct zfs_core_pair *pair = snaps->first; pair; pair = pair->next)
		used += (size_t)snprintf(text + used, TEXT - used, "%s\n", pair->name);
	for (struct zfs_core_pair *pair = props->first; pair; pair = pair->next)
		used += (size_t)snprintf(text + used, TEXT - used, "%s=%s\n", pair->name, pair->string);
}

/* The errors that the answer has for snapshots of this call; what is not one is added as it is, like N_MORE_ERRORS. */
static struct zfs_core_list *make_errors(const char *text, struct zfs_core_list *snaps)
{
	struct zfs_core_list *errors = NULL;
	char *copy = strdup(text);
	char *rest = copy;

	list_alloc(&errors, ZFS_CORE_UNIQUE_NAME, 0);
	for (char *line; (line = strsep(&rest, "\n"));) {
		char *equals = strrchr(line, '=');

		if (!equals)
			continue;
		*equals = '\0';
		for (struct zfs_core_pair *pair = snaps->first; pair; pair = pair->next) {
			size_t length = strcspn(pair->name, "@");

			if (strlen(line) != length || strncmp(pair->name, line, length))
				continue;
			struct zfs_core_pair *error = add(errors, pair->name);

			error->is_number = true;
			error->number = atoi(equals + 1);
		}
	}
	free(copy);
	struct zfs_core_pair *more = add(errors, "N_MORE_ERRORS");

	more->is_number = true;
	more->number = 0;
	add(errors, "not a number");
	return errors;
}

static int snapshot(struct zfs_core_list *snaps, struct zfs_core_list *props, struct zfs_core_list **errors)
{
	struct answer answer = { 0 };

	*errors = NULL;
	pthread_mutex_lock(&lock);
	if (calls_made < MOST)
		write_down(calls[calls_made], snaps, props);
	calls_made++;
	if (answers_used < answers_given)
		answer = answers[answers_used++];
	for (unsigned int now = releases; answer.hangs && now == releases;)
		pthread_cond_wait(&released, &lock);
	if (answer.errors)
		*errors = make_errors(answer.errors, snaps);
	pthread_mutex_unlock(&lock);
	return answer.status;
}

void fake_core_fill(struct zfs_core *core)
{
	*core = (struct zfs_core){
		.init = init,
		.snapshot = snapshot,
		.list_alloc = list_alloc,
		.list_free = list_free,
		.list_add_boolean = list_add_boolean,
		.list_add_string = list_add_string,
		.list_next = list_next,
		.pair_name = pair_name,
		.pair_int32 = pair_int32,
	};
}

void fake_core_reset(void)
{
	fake_core_release();
	pthread_mutex_lock(&lock);
	/* The texts of answers stay: a call that hung until now may still read its own. */
	answers_given = answers_used = calls_made = init_status = 0;
	memset(calls, 0, sizeof(calls));
	pthread_mutex_unlock(&lock);
}

void fake_core_answer(int status, const char *errors, bool hangs)
{
	pthread_mutex_lock(&lock);
	if (answers_given < MOST)
		answers[answers_given++] = (struct answer){ status, errors ? strdup(errors) : NULL, hangs };
	pthread_mutex_unlock(&lock);
}

void fake_core_release(void)
{
	pthread_mutex_lock(&lock);
	releases++;
	pthread_cond_broadcast(&released);
	pthread_mutex_unlock(&lock);
}

void fake_core_set_init(int status)
{
	init_status = status;
}

int fake_core_calls(void)
{
	pthread_mutex_lock(&lock);
	int count = calls_made;

	pthread_mutex_unlock(&lock);
	return count;
}

const char *fake_core_call(int index)
{
	return index >= 0 && index < MOST ? calls[index] : "";
}

int fake_core_lists(void)
{
	return __atomic_load_n(&lists, __ATOMIC_SEQ_CST);
}
