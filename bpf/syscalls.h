/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Probe set `syscalls`: one raw tracepoint, sys_exit, which sees every system call with its arguments and its result.
 * A failed call is no change and costs two loads. Why not one tracepoint a call: docs/design.md, "One program for all
 * calls".
 *
 * What a raw tracepoint cannot know is the file behind a path. Three cases:
 *   descriptor      file -> inode -> superblock: exact
 *   "name"          one component below a directory that the kernel has open: exact, by that directory's superblock
 *   "a/b", "/a/b"   may cross mounts and symbolic links: user space resolves it (a candidate)
 */
#ifndef KAIROS_SYSCALLS_H
#define KAIROS_SYSCALLS_H

#include "calls.h"
#include "change.h"

#define O_CREAT 0100
#define O_TRUNC 01000
#define O_APPEND 02000
#define O_PATH 010000000
#define AT_REMOVEDIR 0x200
#define AT_FDCWD -100
#define AT_SYMLINK_NOFOLLOW 0x100
#define MAP_ANONYMOUS 0x20
#define EBADF 9
#define ERESTART 512 /* include/linux/errno.h: those from here on are the kernel's own */
#define TS_COMPAT 0x0002     /* arch/x86/include/asm/thread_info.h */
#define TIF_32BIT (1UL << 22) /* arch/arm64/include/asm/thread_info.h */

struct call_args {
	unsigned long a[6];
	long result;
	s64 offset; /* trace: as in a record */
	u64 bytes;
	u32 number; /* with KAIROS_COMPAT */
	u32 probe;
	bool early; /* the change may not be done yet */
};

/* The task's root directory, as it is noted in the control block. */
struct root {
	u64 inode;
	u32 device;
	u32 mount;
};

static __always_inline bool root__find(struct root *root)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct fs_struct *fs = task->fs;
	struct inode *inode;

	if (!fs)
		return false;
	inode = fs->root.dentry->d_inode;
	root->inode = inode->i_ino;
	root->device = inode->i_sb->s_dev;
	root->mount = mount__id(fs->root.mnt);
	return true;
}

/* Whether the caller's paths are walked from another root directory than Kairos's, as in a chroot or a container. */
static __always_inline bool root__differs(const struct kairos_control *ctl)
{
	struct root root = {};

	return !root__find(&root) || root.inode != ctl->root_inode || root.device != ctl->root_device ||
	       root.mount != ctl->root_mount;
}

/*
 * When each thread's call began. What is told at a call's end was done some time before: on FUSE by another process, whose
 * answer the caller may sleep on for long, on a busy machine. A snapshot that was taken in between holds the change.
 */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, u64);
} begun SEC(".maps");

/* A time of this CPU that was read, and the kernel's count of ticks then. */
struct tick {
	u64 jiffies;
	u64 ns;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct tick);
} ticks SEC(".maps");

/*
 * Not later than now, and not a tick earlier: the clock is read once in each tick (1 to 10 ms). A bound that is a little too early
 * costs a check at worst, the exact one every call that a program here makes. Whatever a preempted caller reads was a time
 * already, so it is a bound still. (bpf_ktime_get_coarse_ns() is not for tracing programs.)
 */
static __always_inline u64 tick__now(void)
{
	u64 jiffies = bpf_jiffies64();
	u32 zero = 0;
	struct tick *tick = bpf_map_lookup_elem(&ticks, &zero);

	if (!tick)
		return 1;
	if (READ_ONCE(tick->jiffies) != jiffies) {
		WRITE_ONCE(tick->ns, bpf_ktime_get_ns());
		WRITE_ONCE(tick->jiffies, jiffies);
	}
	return READ_ONCE(tick->ns);
}

/* When the caller's system call began; 0 where it is none's. */
static __always_inline u64 call__begun(const struct call_args *args)
{
	u64 *start;

	if (tracing || args->probe != KAIROS_PROBE_SYSCALLS)
		return 0;
	start = bpf_task_storage_get(&begun, bpf_get_current_task_btf(), NULL, 0);
	/* Not known: begun before the programs were there. 1 is long ago. */
	return start && *start ? *start : 1;
}

#define AT_POSITION (-2LL) /* as an offset: it was done where the file's position was, which has moved on since */

static __always_inline u32 send_call(struct scratch *sc, u32 at, const struct call_args *args, bool wake)
{
	sc->record.syscall = args->number;
	sc->record.result = args->result;
	if (!tracing)
		sc->record.begun_ns = call__begun(args) ?: sc->record.time_ns;
	if (tracing) {
		sc->record.offset = args->offset;
		sc->record.bytes = args->bytes;
	}
	return scratch__send(sc, at, wake);
}

/* One change on an open file. Not inlined anywhere: Linux 6.12 wants the stacks of a chain of calls within 512 bytes. */
static __noinline int change__file(struct file *file, int fd, u32 op, const struct call_args *args)
{
	struct inode *inode = FIELD(file, f_inode);
	u32 dev = FIELD(inode, i_sb, s_dev);
	struct change c = {
	    .key.device = dev,
	    .slot = device__slot(dev),
	    .op = op,
	    .probe = args->probe,
	    .result = args->result,
	    .offset = args->offset,
	    .bytes = args->bytes,
	    .syscall = args->number,
	    .fd = fd,
	    .early = args->early,
	};
	u32 type;

	if (!tracing && c.slot == KAIROS_NO_SLOT)
		return 0;
	type = FIELD(inode, i_mode) & S_IFMT;
	/* What is written to a device node or a FIFO is not in its file system. */
	if (op & (KAIROS_OP_WRITE | KAIROS_OP_TRUNCATE) && type != S_IFREG)
		return 0;
	if (tracing) {
		if (type == S_IFDIR)
			c.flags = KAIROS_F_DIRECTORY;
		/* With O_APPEND a position that was passed means nothing. */
		if (args->offset != AT_POSITION && op == KAIROS_OP_WRITE && FIELD(file, f_flags) & O_APPEND)
			c.offset = KAIROS_NO_OFFSET;
		if (c.offset == AT_POSITION)
			c.offset = args->result < 0 ? KAIROS_NO_OFFSET : FIELD(file, f_pos) - args->result;
	}
	c.begun = call__begun(args);
	c.key.inode = FIELD(inode, i_ino);
	c.key.generation = FIELD(inode, i_generation);
	c.mnt = (u64)FIELD(file, f_path.mnt);
	c.dentry = (u64)FIELD(file, f_path.dentry);
	c.hidden = !FIELD(inode, i_nlink);
	return change__tell(&c);
}

/* A change of a file that cannot be told: a path that nobody can read. */
static __noinline int call__unknown(u32 op, const struct call_args *args)
{
	struct kairos_control *ctl = control__get();
	struct scratch *sc;

	if (!ctl || !args)
		return 0;
	if (tracing && !trace__wanted(ctl, op))
		return 0;
	sc = scratch__begin(args->probe, KAIROS_RECORD_CANDIDATE, op, bpf_ktime_get_ns());
	if (sc) {
		if (args->result >= 0)
			sc->record.flags |= KAIROS_F_FAULT;
		send_call(sc, 0, args, wake__first(ctl));
	}
	return 0;
}

static __always_inline int call__file(int fd, u32 op, const struct call_args *args)
{
	struct file *file = file__of(fd);

	if (!file) {
		/* Closed by another thread between the call's end and here. It was on some file. */
		if (!(op & KAIROS_OPS_CHANGE) && !tracing)
			return 0;
		struct kairos_control *ctl = control__get();

		if (args->result >= 0 && ctl)
			__sync_fetch_and_add(&ctl->unmatched, 1);
		return call__unknown(op, args);
	}
	return change__file(file, fd, op, args);
}

#define SUBMITTED_MAX 8
#define IOCB_CMD_PWRITE 1 /* include/uapi/linux/aio_abi.h */
#define IOCB_CMD_PWRITEV 8

/* What is submitted may be done already or later. Of more than a few at once, all that is known is that they were. */
static __noinline int call__submit(struct call_args *args)
{
	u32 i;

	if (!args)
		return 0;
	args->early = true;
	for (i = 0; i < SUBMITTED_MAX; i++) {
		struct {
			u64 data;
			u32 key, rw_flags;
			u16 opcode;
			u16 priority;
			u32 fd;
			u64 buffer, bytes;
			s64 offset;
		} iocb = {}; /* the beginning of struct iocb */
		struct file *file;
		u64 pointer = 0;

		if (i >= args->result)
			return 0;
		if (bpf_probe_read_user(&pointer, sizeof(pointer), (void *)(args->a[2] + i * 8)) ||
		    bpf_probe_read_user(&iocb, sizeof(iocb), (void *)pointer))
			return call__unknown(KAIROS_OP_WRITE, args);
		if (iocb.opcode != IOCB_CMD_PWRITE && iocb.opcode != IOCB_CMD_PWRITEV)
			continue;
		file = file__of(iocb.fd);
		if (!file)
			return call__unknown(KAIROS_OP_WRITE, args);
		/* As it was asked for. Of several buffers their number is there, and not their bytes. */
		args->bytes = iocb.opcode == IOCB_CMD_PWRITE ? iocb.bytes : 0;
		args->offset = iocb.offset;
		change__file(file, -1, KAIROS_OP_WRITE, args);
	}
	return i < args->result ? call__unknown(KAIROS_OP_WRITE, args) : 0;
}

/* The flags come from the caller: the kernel takes O_TRUNC out of the file's own when it has obeyed it. */
static __always_inline u64 open__flags(u32 call, const struct call_args *args)
{
	u64 flags = 0;

	switch (call) {
	case CALL_OPEN:
		return args->a[1];
	case CALL_OPENAT:
		return args->a[2];
	case CALL_OPENAT2: /* struct open_how begins with them */
		bpf_probe_read_user(&flags, sizeof(flags), (const void *)args->a[2]);
		return flags;
	}
	return O_TRUNC; /* creat() */
}

static __noinline int call__open(int fd, u32 call, const struct call_args *args)
{
	u64 flags = open__flags(call, args);
	struct file *file;

	/* Most opens are for reading, and end here. With O_PATH the other flags mean nothing. */
	if (flags & O_PATH && call != CALL_CREAT)
		return 0;
	if (!(flags & (O_CREAT | O_TRUNC | O_TMPFILE_BIT)) && call != CALL_CREAT)
		return 0;
	file = file__of(fd);
	if (!file)
		return call__file(fd, KAIROS_OP_CREATE, args); /* counts it */
	if (FIELD(file, f_mode) & FMODE_CREATED || flags & O_TMPFILE_BIT)
		return change__file(file, fd, KAIROS_OP_CREATE, args);
	if (flags & O_TRUNC)
		return change__file(file, fd, KAIROS_OP_TRUNCATE, args);
	return 0;
}

static __noinline int call__close(int fd, const struct call_args *args)
{
	struct written_key key = {.pid = bpf_get_current_pid_tgid() >> 32, .fd = fd};
	struct written *w = bpf_map_lookup_elem(&written, &key);
	struct kairos_slot *s;
	struct scratch *sc;
	u64 now, epoch;
	u32 slot;

	if (!w)
		return 0;
	slot = device__slot(w->device);
	s = bpf_map_lookup_elem(&slots, &slot);
	now = bpf_ktime_get_ns();
	if (s) {
		epoch = READ_ONCE(s->epoch);
		if (READ_ONCE(s->marked) == epoch)
			WRITE_ONCE(s->last_commit_ns, now);
		struct seen_key skey = {.inode = w->inode, .device = w->device, .generation = w->generation};

		if (seen__first(&skey, epoch, KAIROS_OP_CLOSE)) {
			sc = scratch__begin(KAIROS_PROBE_SYSCALLS, KAIROS_RECORD_CHANGE, KAIROS_OP_CLOSE, now);
			if (sc) {
				sc->record.slot = slot;
				sc->record.epoch = epoch;
				sc->record.device = w->device;
				sc->record.inode = w->inode;
				sc->record.generation = w->generation;
				if (!send_call(sc, 0, args, true))
					__sync_fetch_and_add(&s->lost, 1);
			}
		}
	}
	bpf_map_delete_elem(&written, &key);
	return 0;
}

/* Where a path starts: the caller's root, its working directory, or an open directory. */
struct start {
	struct dentry *dentry;
	struct vfsmount *mnt;
	u64 inode;
	u32 dev;
};

static __always_inline bool start__find(struct start *st, int dirfd, bool absolute)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct fs_struct *fs = task->fs;
	struct dentry *dentry;
	struct inode *inode;

	if (absolute || dirfd == AT_FDCWD) {
		if (!fs)
			return false;
		if (absolute) {
			st->dentry = fs->root.dentry;
			st->mnt = fs->root.mnt;
		} else {
			st->dentry = fs->pwd.dentry;
			st->mnt = fs->pwd.mnt;
		}
	} else {
		struct file *file = file__of(dirfd);

		if (!file)
			return false;
		st->dentry = FIELD(file, f_path.dentry);
		st->mnt = FIELD(file, f_path.mnt);
	}
	dentry = dentry__cast((u64)st->dentry);
	inode = FIELD(dentry, d_inode);
	st->inode = FIELD(inode, i_ino);
	st->dev = FIELD(inode, i_sb, s_dev);
	return true;
}

struct name_args {
	int dirfd;
	u32 flags; /* KAIROS_F_WHOLE, KAIROS_F_FOLLOW */
	unsigned long path;
};

static __always_inline u32 name__append(struct scratch *sc, u32 at, const struct name_args *n, bool second, u32 *shape)
{
	struct kairos_record *r = &sc->record;
	u32 text = at, name_len, path_len;
	struct start st = {};

	/* The string first: its shape tells where it starts. Then the way up from there. */
	at = scratch__string(sc->index, text, n->path);
	name_len = at - text;
	if (!name_len)
		return at;
	*shape = scratch__shape(sc->index, text);
	if (!start__find(&st, n->dirfd, *shape == SHAPE_ABSOLUTE)) {
		*shape = SHAPE_FAULT;
		r->flags |= KAIROS_F_FAULT;
		return text;
	}
	text = at;
	sc->walk = (u64)st.dentry;
	sc->walk_device = st.dev;
	at = scratch__walk(sc->index, text);
	path_len = at - text;
	if (second) {
		r->name2_len = name_len;
		r->path2_len = path_len;
		r->inode2 = st.inode;
		r->device2 = st.dev;
		r->mount2 = mount__id(st.mnt);
	} else {
		r->name_len = name_len;
		r->path_len = path_len;
		r->inode = st.inode;
		r->device = st.dev;
		r->mount = mount__id(st.mnt);
	}
	return at;
}

/*
 * A call on one or two names. The change is in the directory that holds the name, so one component decides: its start is
 * that directory. Both names of a rename lie in one file system, so either will do.
 */
static __noinline int call__names(u32 op, const struct name_args *first, const struct name_args *second,
                                  const struct call_args *args)
{
	struct kairos_control *ctl = control__get();
	u32 shape = SHAPE_FAULT, shape2 = SHAPE_FAULT;
	u32 dev = 0, at, slot = KAIROS_NO_SLOT;
	struct kairos_slot *s = NULL;
	bool known = false, wake;
	struct scratch *sc;
	struct moment m;
	u64 now;

	if (!ctl || !first || !args)
		return 0;
	if (bpf_get_current_pid_tgid() >> 32 == ctl->self)
		return 0;
	if (tracing && !trace__wanted(ctl, op))
		return 0;
	now = bpf_ktime_get_ns();
	sc = scratch__begin(KAIROS_PROBE_SYSCALLS, KAIROS_RECORD_CANDIDATE, op, now);
	if (!sc)
		return 0;
	at = name__append(sc, 0, first, false, &shape);
	if (second)
		at = name__append(sc, at, second, true, &shape2);
	sc->record.flags |= first->flags;
	if (shape == SHAPE_EMPTY) { /* AT_EMPTY_PATH: the start itself */
		dev = sc->record.device;
		known = true;
	} else if (first->flags & KAIROS_F_WHOLE) {
		/* The file itself: even one component may be a symbolic link, or have another file system mounted on it. */
	} else if (shape == SHAPE_ONE) {
		dev = sc->record.device;
		known = true;
	} else if (shape2 == SHAPE_ONE) {
		dev = sc->record.device2;
		known = true;
	}
	if (shape == SHAPE_ABSOLUTE)
		sc->record.flags |= KAIROS_F_ABSOLUTE;
	if (shape2 == SHAPE_ABSOLUTE)
		sc->record.flags |= KAIROS_F_ABSOLUTE2;
	if (root__differs(ctl))
		sc->record.flags |= KAIROS_F_OTHER_ROOT;
	if (tracing) {
		if (known)
			sc->record.kind = KAIROS_RECORD_CHANGE;
		/* Of a path that may cross mounts or links nothing can be said here; either may lead into a tree. */
		if (second && (shape > SHAPE_ONE || shape2 > SHAPE_ONE))
			known = false;
		if (!known)
			sc->record.kind = KAIROS_RECORD_CANDIDATE;
		if (known)
			slot = device__slot(dev);
		if (known && (!trace__has_device(ctl, slot) || !trace__is_below(ctl, sc, slot))) {
			scratch__drop(sc);
			return 0;
		}
		send_call(sc, at, args, wake__first(ctl));
		return 0;
	}
	if (known) {
		bool dirtied = false;

		sc->record.kind = KAIROS_RECORD_CHANGE;
		slot = device__slot(dev);
		s = bpf_map_lookup_elem(&slots, &slot);
		if (!s) {
			scratch__drop(sc);
			return 0;
		}
		m.now = now;
		m.begun = call__begun(args) ?: now;
		sc->record.epoch = slot__mark(s, &m, op & KAIROS_OPS_COMMIT, &dirtied);
		sc->record.slot = slot;
		if (dirtied)
			sc->record.flags |= KAIROS_F_DIRTIED;
		wake = dirtied || READ_ONCE(s->flags) & KAIROS_SLOT_WAKE_RECORD ||
		       (READ_ONCE(s->flags) & KAIROS_SLOT_WAKE_COMMIT && op & KAIROS_OPS_COMMIT);
	} else {
		/* It may be a mark. User space clears the flag a few milliseconds later. */
		wake = wake__first(ctl);
	}
	if (!send_call(sc, at, args, wake) && s)
		__sync_fetch_and_add(&s->lost, 1);
	return 0;
}

/*
 * Trace: an open that failed, by what it asked for. One that only wanted to write to a file that is there is no attempt to
 * change it yet.
 */
static __noinline int open__failed(u32 call, const struct call_args *args)
{
	struct name_args name = {.dirfd = AT_FDCWD, .flags = KAIROS_F_WHOLE | KAIROS_F_FOLLOW};
	u64 flags = open__flags(call, args);

	if (call != CALL_CREAT && (flags & O_PATH || !(flags & (O_CREAT | O_TRUNC | O_TMPFILE_BIT))))
		return 0;
	name.path = args->a[0];
	if (call == CALL_OPENAT || call == CALL_OPENAT2) {
		name.dirfd = args->a[0];
		name.path = args->a[1];
	}
	return call__names(flags & (O_CREAT | O_TMPFILE_BIT) || call == CALL_CREAT ? KAIROS_OP_CREATE : KAIROS_OP_TRUNCATE, &name, NULL, args);
}

/*
 * Whether both names are the same string from the same start: a rename that succeeds and does nothing. Two names of one
 * file are no rename either, and not to be told apart here: nobody knows any more what the new name stood for.
 */
static __noinline bool rename__is_idle(const struct name_args *first, const struct name_args *second)
{
	union {
		char text[64];
		u64 words[8];
	} a = {}, b = {};
	long n;
	int i;

	if (!first || !second || first->dirfd != second->dirfd)
		return false;
	n = bpf_probe_read_user_str(a.text, sizeof(a.text), (const void *)first->path);
	if (n <= 1 || n >= (long)sizeof(a.text))
		return false;
	if (bpf_probe_read_user_str(b.text, sizeof(b.text), (const void *)second->path) != n)
		return false;
	for (i = 0; i < 8; i++)
		if (a.words[i] != b.words[i])
			return false;
	return true;
}

/* The size before the call is not known any more: one that asks for exactly as much as there is counts as a change. */
static __always_inline bool fallocate__is_idle(const struct call_args *args)
{
	struct file *file;
	struct inode *inode;

	if (!fallocate__is_room(args->a[1]))
		return false;
	if (args->a[1] & FALLOC_FL_KEEP_SIZE)
		return true;
	file = file__of(args->a[0]);
	if (!file)
		return false;
	inode = (void *)FIELD(file, f_inode);
	return (s64)(args->a[2] + args->a[3]) < BPF_CORE_READ(inode, i_size);
}

#define UTIME_OMIT ((1L << 30) - 2)

/* Whether utimensat(2) was asked to leave both times as they are. */
static __always_inline bool times__omitted(unsigned long user)
{
	struct {
		long seconds, nanoseconds;
	} times[2] = {};

	if (!user || bpf_probe_read_user(times, sizeof(times), (const void *)user))
		return false;
	return times[0].nanoseconds == UTIME_OMIT && times[1].nanoseconds == UTIME_OMIT;
}

/* The calls on names. A function of its own: the stack of one that does all would be too large for Linux 6.12. */
static __noinline int call__by_names(u32 call, const struct call_args *args)
{
	u32 at_flags;
	struct name_args first = {.dirfd = AT_FDCWD};
	struct name_args second = {.dirfd = AT_FDCWD};

	if (!args)
		return 0;
	first.path = args->a[0];
	second.path = args->a[1];

	switch (call) {
	case CALL_UNLINK:
		return call__names(KAIROS_OP_UNLINK, &first, NULL, args);
	case CALL_RMDIR:
		return call__names(KAIROS_OP_RMDIR, &first, NULL, args);
	case CALL_MKDIR:
		return call__names(KAIROS_OP_MKDIR, &first, NULL, args);
	case CALL_TRUNCATE:
		first.flags = KAIROS_F_WHOLE | KAIROS_F_FOLLOW;
		return call__names(KAIROS_OP_TRUNCATE, &first, NULL, args);
	case CALL_ATTR:
		first.flags = KAIROS_F_WHOLE | KAIROS_F_FOLLOW;
		return call__names(KAIROS_OP_ATTR, &first, NULL, args);
	case CALL_LATTR:
		first.flags = KAIROS_F_WHOLE;
		return call__names(KAIROS_OP_ATTR, &first, NULL, args);
	case CALL_ATTRAT:
	case CALL_CHOWNAT:
	case CALL_UTIMESAT:
		first.dirfd = args->a[0];
		first.path = args->a[1];
		at_flags = call == CALL_CHOWNAT ? args->a[4] : call == CALL_UTIMESAT ? args->a[3] : 0;
		first.flags = KAIROS_F_WHOLE | (at_flags & AT_SYMLINK_NOFOLLOW ? 0 : KAIROS_F_FOLLOW);
		if (call == CALL_UTIMESAT && times__omitted(args->a[2]))
			return 0;
		if (!first.path) /* futimens() */
			return call__file(args->a[0], KAIROS_OP_ATTR, args);
		return call__names(KAIROS_OP_ATTR, &first, NULL, args);
	case CALL_LINK:
		first.path = args->a[1];
		return call__names(KAIROS_OP_LINK, &first, NULL, args);
	case CALL_LINKAT:
		first.dirfd = args->a[2];
		first.path = args->a[3];
		return call__names(KAIROS_OP_LINK, &first, NULL, args);
	case CALL_SYMLINK:
		first.path = args->a[1];
		return call__names(KAIROS_OP_CREATE, &first, NULL, args);
	case CALL_SYMLINKAT:
		first.dirfd = args->a[1];
		first.path = args->a[2];
		return call__names(KAIROS_OP_CREATE, &first, NULL, args);
	case CALL_MKNOD:
		return call__names(KAIROS_OP_CREATE, &first, NULL, args);
	case CALL_MKNODAT:
		first.dirfd = args->a[0];
		first.path = args->a[1];
		return call__names(KAIROS_OP_CREATE, &first, NULL, args);
	case CALL_RENAME:
		if (!args->result && rename__is_idle(&first, &second))
			return 0;
		return call__names(KAIROS_OP_RENAME, &first, &second, args);
	case CALL_UNLINKAT:
		first.dirfd = args->a[0];
		first.path = args->a[1];
		return call__names(args->a[2] & AT_REMOVEDIR ? KAIROS_OP_RMDIR : KAIROS_OP_UNLINK, &first, NULL, args);
	case CALL_MKDIRAT:
		first.dirfd = args->a[0];
		first.path = args->a[1];
		return call__names(KAIROS_OP_MKDIR, &first, NULL, args);
	case CALL_RENAMEAT:
		first.dirfd = args->a[0];
		first.path = args->a[1];
		second.dirfd = args->a[2];
		second.path = args->a[3];
		if (!args->result && rename__is_idle(&first, &second))
			return 0;
		return call__names(KAIROS_OP_RENAME, &first, &second, args);
	}
	return 0;
}

static __always_inline u32 regs__number(struct pt_regs *regs)
{
#if defined(__TARGET_ARCH_x86)
	return regs->orig_ax;
#else
	return regs->syscallno;
#endif
}

static __always_inline bool task__compat(void)
{
	struct task_struct *task = bpf_get_current_task_btf();

#if defined(__TARGET_ARCH_x86)
	return task->thread_info.status & TS_COMPAT;
#else
	return task->thread_info.flags & TIF_32BIT;
#endif
}

static __always_inline void regs__args(struct pt_regs *regs, bool compat, struct call_args *args)
{
#if defined(__TARGET_ARCH_x86)
	if (compat) {
		args->a[0] = (u32)regs->bx;
		args->a[1] = (u32)regs->cx;
		args->a[2] = (u32)regs->dx;
		args->a[3] = (u32)regs->si;
		args->a[4] = (u32)regs->di;
		args->a[5] = (u32)regs->bp;
	} else {
		args->a[0] = regs->di;
		args->a[1] = regs->si;
		args->a[2] = regs->dx;
		args->a[3] = regs->r10;
		args->a[4] = regs->r8;
		args->a[5] = regs->r9;
	}
#else
	args->a[0] = regs->orig_x0;
	args->a[1] = regs->regs[1];
	args->a[2] = regs->regs[2];
	args->a[3] = regs->regs[3];
	args->a[4] = regs->regs[4];
	args->a[5] = regs->regs[5];
#endif
}

/*
 * Trace: how many bytes, and where. Of what the caller passed, so it can only be read here; pwritev(2) with the offset -1
 * writes at the file's position.
 */
static __always_inline void call__measure(u32 call, bool compat, struct call_args *args)
{
	s64 position = 0;

	switch (call) {
	case CALL_WRITE:
		args->offset = AT_POSITION;
		args->bytes = args->result > 0 ? args->result : 0;
		return;
	case CALL_PWRITE:
		args->offset = compat ? KAIROS_NO_OFFSET : (s64)args->a[3] == -1 ? AT_POSITION : (s64)args->a[3];
		args->bytes = args->result > 0 ? args->result : 0;
		return;
	case CALL_SPLICE: /* the offset that was passed has moved on, as the position would have */
		args->bytes = args->result > 0 ? args->result : 0;
		if (!args->a[3])
			args->offset = AT_POSITION;
		else if (args->result >= 0 && !bpf_probe_read_user(&position, sizeof(position), (void *)args->a[3]))
			args->offset = position - args->result;
		return;
	case CALL_FTRUNCATE:
	case CALL_TRUNCATE:
		args->offset = compat ? KAIROS_NO_OFFSET : (s64)args->a[1];
		return;
	case CALL_FALLOCATE:
		args->offset = args->a[2];
		args->bytes = args->a[3];
		return;
	case CALL_MMAP:
		/* mmap2() of 32-bit programs counts in pages. */
		args->offset = compat ? (s64)args->a[5] * 4096 : (s64)args->a[5];
		args->bytes = args->a[1];
		return;
	case CALL_OPEN:
	case CALL_OPENAT:
	case CALL_OPENAT2:
	case CALL_CREAT:
		/* Of one that truncates: the new size. */
		args->offset = 0;
	}
}

/* User space closes a descriptor that cannot be, and so learns that the program fires, and its own number here. */
static __noinline int calibrate(struct kairos_control *ctl, u32 call, long result, int fd, u32 probe)
{
	if (!ctl)
		return 0;
	if (call == CALL_CLOSE && result == -EBADF && ctl->cookie && fd == ctl->cookie) {
		struct root root = {};

		ctl->self = bpf_get_current_pid_tgid() >> 32;
		ctl->pid_level = task__level();
		if (root__find(&root)) {
			ctl->root_inode = root.inode;
			ctl->root_device = root.device;
			ctl->root_mount = root.mount;
		}
		__sync_fetch_and_or(&ctl->fired, 1ULL << probe);
	}
	return 0;
}

SEC("tp_btf/sys_enter")
int BPF_PROG(syscalls__begin, struct pt_regs *regs, long number)
{
	u32 index = number;
	u64 *start;

	/* What is compared is to be what is used: the compiler likes to compare a copy. */
	barrier_var(index);
	if (index >= CALLS)
		return 0;
#if defined(__TARGET_ARCH_x86)
	if (!calls[index] && !compat_calls[index])
		return 0;
#else
	if (!calls[index])
		return 0;
#endif
	/* Closes are many, and change nothing. */
	if (calls[index] == CALL_CLOSE)
		return 0;
	start = bpf_task_storage_get(&begun, bpf_get_current_task_btf(), NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (start)
		*start = tick__now();
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(syscalls__exit, struct pt_regs *regs, long result)
{
	u32 index = regs__number(regs), call;
	struct kairos_control *ctl;
	bool compat = false;

	barrier_var(index);
	if (index >= CALLS)
		return 0;
	call = calls[index];
#if defined(__TARGET_ARCH_x86)
	if (!call && !compat_calls[index])
		return 0;
#else
	if (!call)
		return 0;
#endif
	/* mmap() returns addresses, and no address of user space is negative as a long. */
	if (result < 0 && result != -EBADF && !(tracing && trace_failures))
		return 0;
#if defined(__TARGET_ARCH_x86)
	compat = task__compat();
	if (compat)
		call = compat_calls[index];
#endif
	ctl = control__get();
	if (!ctl)
		return 0;

	struct call_args args = {
	    .number = compat ? index | KAIROS_COMPAT : index, .result = result, .offset = KAIROS_NO_OFFSET};

	regs__args(regs, compat, &args);
	if (!READ_ONCE(ctl->ready))
		return calibrate(ctl, call, result, args.a[0], KAIROS_PROBE_SYSCALLS);
	if (tracing) {
		/* What the kernel will do again after a signal has not failed: -ERESTARTSYS and the like. */
		if (result < 0 ? !trace_failures || result <= -ERESTART : trace_failures == KAIROS_FAILURES_ALONE)
			return 0;
		call__measure(call, compat, &args);
	} else if (result < 0) {
		return 0;
	}

	switch (call) {
	case CALL_WRITE:
	case CALL_PWRITE:
		return result ? call__file(args.a[0], KAIROS_OP_WRITE, &args) : 0;
	case CALL_OPEN:
	case CALL_OPENAT:
	case CALL_OPENAT2:
	case CALL_CREAT:
		return tracing && result < 0 ? open__failed(call, &args) : call__open(result, call, &args);
	case CALL_CLOSE:
		return !tracing && READ_ONCE(ctl->commits) ? call__close(args.a[0], &args) : 0;
	case CALL_DUP:
		return !tracing && READ_ONCE(ctl->commits) && args.a[0] != args.a[1] ? call__close(args.a[1], &args) : 0;
	case CALL_FTRUNCATE:
		return call__file(args.a[0], KAIROS_OP_TRUNCATE, &args);
	case CALL_SYNC:
		return call__file(args.a[0], KAIROS_OP_SYNC, &args);
	case CALL_SPLICE:
		return result ? call__file(args.a[2], KAIROS_OP_WRITE, &args) : 0;
	case CALL_FALLOCATE:
		return fallocate__is_idle(&args) ? 0 : call__file(args.a[0], KAIROS_OP_WRITE, &args);
	case CALL_SUBMIT:
		return result > 0 ? call__submit(&args) : 0;
	case CALL_FATTR:
		return call__file(args.a[0], KAIROS_OP_ATTR, &args);
	case CALL_IOCTL:
		switch ((u32)args.a[1]) {
		case FICLONE:
		case FICLONERANGE:
			return call__file(args.a[0], KAIROS_OP_WRITE, &args);
		case FS_IOC_SETFLAGS:
		case FS_IOC_FSSETXATTR:
			return call__file(args.a[0], KAIROS_OP_ATTR, &args);
		}
		return 0;
	case CALL_MMAP:
		if (!(args.a[3] & MAP_SHARED_MASK) || args.a[3] & MAP_ANONYMOUS || !(args.a[2] & PROT_WRITE))
			return 0;
		return call__file(args.a[4], KAIROS_OP_MAP, &args);
	default:
		break;
	}
	return call__by_names(call, &args);
}

/* Whether a file has but one reference: a descriptor's. */
static __always_inline bool file__is_last(struct file *file)
{
	struct file___count *count = (void *)file;
	struct file___ref *ref = (void *)file;

	if (bpf_core_field_exists(ref->f_ref))
		return BPF_CORE_READ(ref, f_ref.refcnt.counter) == 0;
	return BPF_CORE_READ(count, f_count.counter) == 1;
}

/*
 * Trace: the last descriptor of a file that was open for writing is closed. At the beginning of the call: at its end the
 * file is gone. Not seen so: what a process that ends leaves open, close_range(2), and a mapping that outlives its
 * descriptor.
 */
static __noinline int call__closing(struct pt_regs *regs, u32 call, u32 number)
{
	struct call_args args = {
	    .number = number, .probe = KAIROS_PROBE_CLOSE, .offset = KAIROS_NO_OFFSET, .early = true};
	struct kairos_control *ctl = control__get();
	struct file *file;

	if (!ctl || !READ_ONCE(ctl->ready))
		return 0;
	regs__args(regs, number & KAIROS_COMPAT, &args);
	if (call == CALL_DUP && args.a[0] == args.a[1])
		return 0;
	file = file__of(call == CALL_DUP ? args.a[1] : args.a[0]);
	if (!file || !(FIELD(file, f_mode) & FMODE_WRITE) || (FIELD(file, f_inode, i_mode) & S_IFMT) != S_IFREG)
		return 0;
	if (!file__is_last(file))
		return 0;
	return change__file(file, -1, KAIROS_OP_CLOSE, &args);
}

SEC("tp_btf/sys_enter")
int BPF_PROG(syscalls__enter, struct pt_regs *regs, long number)
{
	u32 index = number, call;

	/* What is compared is to be what is used: the compiler likes to compare a copy. */
	barrier_var(index);
	if (index >= CALLS)
		return 0;
	call = calls[index];
#if defined(__TARGET_ARCH_x86)
	/* Most calls are neither by their number nor by the 32-bit one, and end here. */
	if (call != CALL_CLOSE && call != CALL_DUP && compat_calls[index] != CALL_CLOSE)
		return 0;
	if (task__compat()) {
		call = compat_calls[index];
		number |= KAIROS_COMPAT;
	}
#endif
	if (call != CALL_CLOSE && call != CALL_DUP)
		return 0;
	return call__closing(regs, call, number);
}

/* include/uapi/linux/io_uring.h: enum io_uring_op, whose numbers are the kernel's interface. */
enum {
	URING_WRITEV = 2,
	URING_WRITE_FIXED = 5,
	URING_FALLOCATE = 17,
	URING_OPENAT = 18,
	URING_WRITE = 23,
	URING_OPENAT2 = 28,
	URING_SPLICE = 30,
	URING_RENAMEAT = 35,
	URING_UNLINKAT = 36,
	URING_MKDIRAT = 37,
	URING_SYMLINKAT = 38,
	URING_LINKAT = 39,
	URING_FSETXATTR = 41,
	URING_SETXATTR = 42,
	URING_FTRUNCATE = 55,
};

/*
 * The end of a request of io_uring, in whatever thread did it. A request on a file has it at hand; the paths of the others
 * are gone by now, so every dataset is checked. The arguments behind the second differ between kernels, and the result
 * is in the request.
 */
SEC("tp_btf/io_uring_complete")
int syscalls__io_uring(u64 *ctx)
{
	struct io_kiocb *request = (void *)ctx[1];
	struct kairos_control *ctl = control__get();
	struct call_args args = {
	    .number = KAIROS_NO_SYSCALL, .probe = KAIROS_PROBE_IO_URING_COMPLETE, .offset = KAIROS_NO_OFFSET};
	u32 opcode, op = KAIROS_OP_WRITE;
	struct file *file;

	/* What a request leaves behind it besides its end has none. */
	if (!ctl || !READ_ONCE(ctl->ready) || !request)
		return 0;
	args.result = BPF_CORE_READ(request, cqe.res);
	if (args.result < 0)
		return 0;
	opcode = BPF_CORE_READ(request, opcode);
	switch (opcode) {
	case URING_WRITEV:
	case URING_WRITE_FIXED:
	case URING_WRITE:
	case URING_SPLICE:
		if (!args.result)
			return 0;
		args.bytes = args.result;
		break;
	case URING_FALLOCATE:
		break;
	case URING_FTRUNCATE:
		op = KAIROS_OP_TRUNCATE;
		break;
	case URING_FSETXATTR:
		op = KAIROS_OP_ATTR;
		break;
	case URING_OPENAT:
	case URING_OPENAT2:
		file = file__of(args.result);
		if (!file || !(FIELD(file, f_mode) & FMODE_CREATED))
			return 0;
		return change__file(file, -1, KAIROS_OP_CREATE, &args);
	case URING_RENAMEAT:
	case URING_UNLINKAT:
	case URING_MKDIRAT:
	case URING_SYMLINKAT:
	case URING_LINKAT:
	case URING_SETXATTR:
		return call__unknown(op, &args);
	default:
		return 0;
	}
	file = file__cast((u64)BPF_CORE_READ(request, file));
	return file ? change__file(file, -1, op, &args) : 0;
}

/*
 * Stores through a mapping. The kernel tells of a page when it goes from clean to dirty, in the fault just before the
 * first store; that is *before* the change. It is safe all the same: user space writes back dirty pages after it has
 * moved the epoch on, so either this store is written back with them, or it faults again and marks the new epoch.
 */
static __always_inline int change__folio(struct address_space *mapping)
{
	struct kairos_control *ctl = control__get();
	struct hlist_node *alias;
	struct inode *inode;
	struct change c = {
	    .op = KAIROS_OP_STORE,
	    .probe = KAIROS_PROBE_FOLIO,
	    .offset = KAIROS_NO_OFFSET,
	    .syscall = KAIROS_NO_SYSCALL,
	    .fd = -1,
	};

	/* The tracepoint's BTF says that the mapping may be NULL (6.14 and later ask for the check). */
	if (!ctl || !READ_ONCE(ctl->ready) || !mapping)
		return 0;
	inode = mapping->host;
	if (!inode)
		return 0;
	c.key.device = inode->i_sb->s_dev;
	c.slot = device__slot(c.key.device);
	if (!tracing && c.slot == KAIROS_NO_SLOT)
		return 0;
	c.key.inode = inode->i_ino;
	c.key.generation = inode->i_generation;
	c.hidden = !inode->i_nlink;
	alias = inode->i_dentry.first;
	if (alias)
		c.dentry = (u64)alias - bpf_core_field_offset(struct dentry, d_u.d_alias);
	return change__tell(&c);
}

SEC("tp_btf/writeback_dirty_folio")
int BPF_PROG(syscalls__dirty_folio, struct folio *folio, struct address_space *mapping)
{
	/* In a trace, write(2) is shown as such; a store faults from user mode, where no system call is under way. */
	if (tracing) {
		struct task_struct *task = bpf_get_current_task_btf();
		struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);

#if defined(__TARGET_ARCH_x86)
		if ((long)regs->orig_ax >= 0)
			return 0;
#else
		if (regs->syscallno >= 0)
			return 0;
#endif
	}
	return change__folio(mapping);
}

/* Properties may have changed when a zfs or zpool command has ended: no need to poll them. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(syscalls__process_exit, struct task_struct *task)
{
	struct kairos_control *ctl = control__get();
	struct scratch *sc;
	u32 pid_tgid_pid = bpf_get_current_pid_tgid();

	if (tracing || !ctl || !READ_ONCE(ctl->ready))
		return 0;
	/* "zfs" or "zpool", by the leader; our own children ask, they do not change properties. */
	if (pid_tgid_pid != bpf_get_current_pid_tgid() >> 32)
		return 0;
	if (!(task->comm[0] == 'z' &&
	      ((task->comm[1] == 'f' && task->comm[2] == 's' && !task->comm[3]) ||
	       (task->comm[1] == 'p' && task->comm[2] == 'o' && task->comm[3] == 'o' && task->comm[4] == 'l'))))
		return 0;
	if ((u32)BPF_CORE_READ(task, real_parent, tgid) == ctl->self)
		return 0;
	sc = scratch__begin(KAIROS_PROBE_EXIT, KAIROS_RECORD_ZFS_COMMAND, 0, bpf_ktime_get_ns());
	if (sc)
		scratch__send(sc, 0, true);
	return 0;
}

#endif
