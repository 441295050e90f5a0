/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Records: one per inode, op and epoch, put together in a scratch of the CPU's and sent through the ring.
 */
#ifndef KAIROS_RECORD_H
#define KAIROS_RECORD_H

#include "mark.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20); /* user space resizes it before load */
} ring SEC(".maps");

struct seen_key {
	u64 inode;
	u32 device;
	u32 generation; /* inode numbers are used again */
	u64 name;       /* hash of the name, for slots with ignore rules: another link may be another matter */
};

/* An epoch, and ops seen in it, in one word: a reader never has those of one epoch with the number of another. */
#define SEEN_OPS_BITS 16
#define SEEN_WORD(epoch, ops) ((epoch) << SEEN_OPS_BITS | (ops))
#define SEEN_EPOCH(word) ((word) >> SEEN_OPS_BITS)

struct seen {
	u64 word;
	u32 pid; /* whose descriptor `fd` was last noted in `written` */
	s32 fd;
};

/* Coalescing: the ops reported of an inode in its epoch. Least recently used entries go first: a repeated record. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct seen_key);
	__type(value, struct seen);
} seen SEC(".maps");

/* True when this (inode, op) was not reported in this epoch yet. Two CPUs at once: a record twice, never none. */
static __always_inline bool seen__first(const struct seen_key *key, u64 epoch, u32 op)
{
	struct seen fresh = {.word = SEEN_WORD(epoch, op)};
	struct seen *s = bpf_map_lookup_elem(&seen, key);
	u64 old;

	if (!s) {
		bpf_map_update_elem(&seen, key, &fresh, BPF_ANY);
		return true;
	}
	old = READ_ONCE(s->word);
	if (SEEN_EPOCH(old) == epoch) {
		if (old & op)
			return false;
		fresh.word |= old;
	}
	/* If another CPU was quicker, its word stays. The record is sent all the same, perhaps twice. */
	__sync_val_compare_and_swap(&s->word, old, fresh.word);
	return true;
}

/*
 * A record under construction. Each CPU has a few: where tracing programs can be preempted, and in a system call that
 * nests (a splice that writes), one may be at it when the next begins.
 */
struct scratch {
	u64 walk; /* the dentry that scratch__walk() starts at: a global function takes no kernel pointer */
	u32 index;
	u32 busy;
	u32 walk_device; /* trace by trees: the superblock of `walk` */
	u32 below;       /* trace by trees: a walk came by one of them */
	struct kairos_record record;
	char data[KAIROS_DATA_MAX];
	char slack[KAIROS_PATH_MAX]; /* lets the verifier see that the last string ends inside */
};

#define SCRATCHES 4

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SCRATCHES);
	__type(key, u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

/* The trees that a trace is asked for: a directory, and what lies below it in its file system. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct kairos_tree);
	__type(value, u8);
} trace_trees SEC(".maps");

/* What `trace_trees` says of an inode, 0 for nothing. */
static __always_inline u8 tree__of(const struct kairos_control *ctl, u32 device, u64 inode)
{
	struct kairos_tree tree = {.inode = inode, .device = device};
	u8 *what;

	if (!(READ_ONCE(ctl->trees) & KAIROS_TREE_BIT(inode)))
		return 0;
	what = bpf_map_lookup_elem(&trace_trees, &tree);
	return what ? *what : 0;
}

/*
 * Note if a walk has come by a tree, at `walk`. `is_first`: the walk begins here. In the directory that holds a tree's own
 * name, user space looks at the name.
 */
__noinline int tree__note(u32 which, u32 is_first)
{
	struct scratch *sc = bpf_map_lookup_elem(&scratches, &which);
	struct kairos_control *ctl = control__get();
	struct dentry *dentry;
	struct inode *inode;
	u8 what;

	if (!sc || !ctl || sc->below == KAIROS_TREE_ROOT)
		return 0;
	dentry = dentry__cast(sc->walk);
	inode = FIELD(dentry, d_inode);
	/* A deleted name has none any more. */
	if (!inode)
		return 0;
	what = tree__of(ctl, sc->walk_device, FIELD(inode, i_ino));
	if (what == KAIROS_TREE_ROOT || (what && is_first))
		sc->below = what;
	return 0;
}

/*
 * Append the components from `walk`, a dentry, up to the root of its superblock, the last one first. Returns the new
 * offset. A global function, like the next two: the verifier proves it once and not once a caller and path.
 */
__noinline u32 scratch__walk(u32 which, u32 at)
{
	struct scratch *sc = bpf_map_lookup_elem(&scratches, &which);
	struct dentry *dentry;
	u32 start = at;
	int i;

	if (!sc)
		return at;
	dentry = dentry__cast(sc->walk);
	for (i = 0; i < KAIROS_DEPTH_MAX; i++) {
		struct dentry *parent = FIELD(dentry, d_parent);
		long n;

		if (tracing && trace_by & KAIROS_BY_TREE) {
			sc->walk = (u64)dentry;
			tree__note(which, !i);
		}
		if (parent == dentry || !parent)
			return at;
		if (at - start > KAIROS_PATH_MAX - KAIROS_NAME_MAX || at >= KAIROS_DATA_MAX)
			break;
		n = bpf_probe_read_kernel_str(&sc->data[at], KAIROS_NAME_MAX, FIELD(dentry, d_name.name));
		if (n <= 0 || n > KAIROS_NAME_MAX)
			break;
		at += n;
		dentry = parent;
	}
	sc->record.flags |= KAIROS_F_TRUNCATED;
	return at;
}

/*
 * Append a string of the caller's, of so many bytes at most with its NUL. The kernel has just read it, so its page is there.
 * Returns the new offset.
 */
__noinline u32 scratch__string(u32 which, u32 at, u64 user, u32 limit)
{
	struct scratch *sc = bpf_map_lookup_elem(&scratches, &which);
	long n;

	if (!sc)
		return at;
	if (at >= KAIROS_DATA_MAX) {
		sc->record.flags |= KAIROS_F_TRUNCATED;
		return at;
	}
	asm volatile("if %0 <= %1 goto +1\n%0 = %1" : "+r"(limit) : "i"(KAIROS_PATH_MAX));
	n = bpf_probe_read_user_str(&sc->data[at], limit, (const void *)user);
	if (n <= 0 || n > KAIROS_PATH_MAX) {
		sc->record.flags |= KAIROS_F_FAULT;
		return at;
	}
	return at + n;
}

/* The first bytes of a caller's path tell whether it is absolute, and none, one or several components. */
enum shape { SHAPE_FAULT, SHAPE_EMPTY, SHAPE_ONE, SHAPE_SEVERAL, SHAPE_ABSOLUTE };

__noinline u32 scratch__shape(u32 which, u32 at)
{
	struct scratch *sc = bpf_map_lookup_elem(&scratches, &which);
	bool slash = false;
	u32 i;

	if (!sc || at >= KAIROS_DATA_MAX)
		return SHAPE_FAULT;
	if (sc->data[at] == '/')
		return SHAPE_ABSOLUTE;
	if (!sc->data[at])
		return SHAPE_EMPTY;
	/* One component is at most NAME_MAX bytes; "a/" still is one: only a slash with something behind it counts. */
	for (i = 0; i < KAIROS_NAME_MAX; i++) {
		char c = sc->data[at + i];

		if (!c)
			return SHAPE_ONE;
		if (c == '/')
			slash = true;
		else if (slash)
			return SHAPE_SEVERAL;
	}
	return SHAPE_SEVERAL;
}

/* Claim a scratch of this CPU. NULL when all are busy. */
static __always_inline struct scratch *scratch__claim(void)
{
	u32 i;

	for (i = 0; i < SCRATCHES; i++) {
		u32 key = i;
		struct scratch *sc = bpf_map_lookup_elem(&scratches, &key);

		if (sc && !__sync_lock_test_and_set(&sc->busy, 1)) {
			sc->index = i;
			return sc;
		}
	}
	return NULL;
}

static __always_inline void scratch__drop(struct scratch *sc)
{
	WRITE_ONCE(sc->busy, 0);
}

/* What a record that nobody gets costs. */
static __always_inline void record__lost(struct kairos_control *ctl, u32 kind)
{
	switch (kind) {
	case KAIROS_RECORD_CANDIDATE:
		__sync_fetch_and_add(&ctl->candidates_lost, 1);
		/* Had this one asked for the wake-up, nobody was woken: the next one has to ask again. */
		WRITE_ONCE(ctl->pending, 0);
		break;
	case KAIROS_RECORD_ZFS_COMMAND:
		__sync_fetch_and_add(&ctl->zfs_lost, 1);
		break;
	default:
		__sync_fetch_and_add(&ctl->lost, 1);
		if (tracing)
			WRITE_ONCE(ctl->pending, 0);
	}
}

/* The number of a thread in a PID namespace so deep; 0 where it cannot be seen from there. */
static __always_inline u32 task__number(struct task_struct *task, u32 level)
{
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	u32 nr = 0;

	if (level > 32 || level > BPF_CORE_READ(pid, level)) /* MAX_PID_NS_LEVEL */
		return 0;
	bpf_probe_read_kernel(&nr, sizeof(nr), (void *)pid + bpf_core_field_offset(struct pid, numbers) +
				       level * bpf_core_type_size(struct upid) + bpf_core_field_offset(struct upid, nr));
	return nr;
}

/* The number of a process as Kairos's PID namespace has it. */
static __always_inline u32 process__number(struct task_struct *task, u32 level)
{
	return level ? task__number(task->group_leader, level) : (u32)task->tgid;
}

static __always_inline u32 task__level(void)
{
	struct task_struct *task = bpf_get_current_task_btf();

	return task->thread_pid->level;
}

/* Say in the record who the caller is. A global function: the verifier comes by once. */
__noinline int scratch__caller(u32 which)
{
	struct scratch *sc = bpf_map_lookup_elem(&scratches, &which);
	struct task_struct *task = task__current();
	struct kairos_control *ctl = control__get();

	if (!sc || !ctl)
		return 0;
	sc->record.pid = process__number(task, ctl->pid_level);
	sc->record.tid = ctl->pid_level ? task__number(task, ctl->pid_level) : (u32)task->pid;
	sc->record.ppid = process__number(task->real_parent, ctl->pid_level);
	sc->record.uid = (u32)bpf_get_current_uid_gid();
	sc->record.mount_ns = task->nsproxy->mnt_ns->ns.inum;
	bpf_get_current_comm(sc->record.comm, sizeof(sc->record.comm));
	return 0;
}

/* True for the first record since user space last cleared `pending`: that record wakes it. */
static __always_inline bool wake__first(struct kairos_control *ctl)
{
	if (READ_ONCE(ctl->pending))
		return false;
	WRITE_ONCE(ctl->pending, 1);
	return true;
}

/* Wake user space by an empty record. If the ring is too full for it, an earlier record has woken user space. */
static __noinline int wake__send(void)
{
	struct kairos_record *r = bpf_ringbuf_reserve(&ring, sizeof(*r), 0);

	if (!r)
		return 0;
	__builtin_memset(r, 0, sizeof(*r));
	r->kind = KAIROS_RECORD_DIRTY;
	r->slot = KAIROS_NO_SLOT;
	r->syscall = KAIROS_NO_SYSCALL;
	r->offset = KAIROS_NO_OFFSET;
	bpf_ringbuf_submit(r, BPF_RB_FORCE_WAKEUP);
	return 0;
}

/* A cleared record with what is known of the caller; to be sent or dropped. NULL: it counts as lost. */
static __always_inline struct scratch *scratch__begin(u32 probe, u32 kind, u32 op, u64 now)
{
	struct scratch *sc = scratch__claim();
	struct kairos_control *ctl = control__get();

	if (!ctl)
		return NULL;
	if (!sc) {
		record__lost(ctl, kind);
		/* A lost candidate makes user space check every dataset. Wake it, since no other record may do so. */
		if (!tracing)
			wake__send();
		return NULL;
	}
	__builtin_memset(&sc->record, 0, sizeof(sc->record));
	sc->record.kind = kind;
	sc->record.op = op;
	sc->record.probe = probe;
	sc->record.time_ns = now;
	sc->record.begun_ns = now;
	sc->record.slot = KAIROS_NO_SLOT;
	sc->record.syscall = KAIROS_NO_SYSCALL;
	sc->record.offset = KAIROS_NO_OFFSET;
	sc->below = 0;
	scratch__caller(sc->index);
	return sc;
}

/* Submit, and let go. The one place that counts what was sent. `tail` is the length of the data. */
static __always_inline bool scratch__send(struct scratch *sc, u32 tail, bool wake)
{
	struct kairos_control *ctl = control__get();
	u64 flags = BPF_RB_NO_WAKEUP;
	bool sent = false;
	u64 size;

	if (!ctl)
		return false;
	/*
	 * Nobody has to wake for detail; but a ring that fills is drained before it overflows. A trace is looked at every few
	 * milliseconds once it has begun to flow.
	 */
	if (wake || (!tracing && bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) >= bpf_ringbuf_query(&ring, BPF_RB_RING_SIZE) / 4))
		flags = BPF_RB_FORCE_WAKEUP;
	if (sc->record.flags & KAIROS_F_TRUNCATED)
		__sync_fetch_and_add(&ctl->truncated, 1);
	if (sc->record.flags & KAIROS_F_FAULT)
		__sync_fetch_and_add(&ctl->faults, 1);
	size = sizeof(struct kairos_record) + tail;
	/*
	 * In assembly, so that what is compared is what is passed on: the compiler likes to compare a copy, and Linux 6.1's
	 * verifier does not carry the bound over to the other one.
	 */
	asm volatile("if %0 <= %1 goto +1\n%0 = %1"
		     : "+r"(size)
		     : "i"(sizeof(struct kairos_record) + KAIROS_DATA_MAX));
	if (!bpf_ringbuf_output(&ring, &sc->record, size, flags)) {
		__sync_fetch_and_add(&ctl->sent, 1);
		sent = true;
		/*
		 * User space clears `pending`, then drains the ring. If it did both after this program had read the flag as set,
		 * the record is still in the ring and nothing wakes user space for it.
		 */
		if (!tracing && flags == BPF_RB_NO_WAKEUP && sc->record.kind == KAIROS_RECORD_CANDIDATE && wake__first(ctl))
			wake__send();
	} else {
		record__lost(ctl, sc->record.kind);
	}
	scratch__drop(sc);
	return sent;
}

/* Say in the record what was marked. */
static __always_inline void scratch__mark(struct scratch *sc, u32 slot, const struct mark *mark)
{
	sc->record.slot = slot;
	sc->record.epoch = mark->epoch;
	if (mark->dirtied)
		sc->record.flags |= KAIROS_F_DIRTIED;
}

#endif
