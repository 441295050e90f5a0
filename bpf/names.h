/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Changes that a call tells by names. One component below a directory that the kernel has open is exact, by that directory's
 * superblock; several may cross mounts and symbolic links: user space resolves them (a candidate).
 */
#ifndef KAIROS_NAMES_H
#define KAIROS_NAMES_H

#include "descriptors.h"

#define AT_REMOVEDIR 0x200
#define AT_FDCWD -100
#define AT_SYMLINK_NOFOLLOW 0x100

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
	u16 flags; /* KAIROS_F_WHOLE, KAIROS_F_FOLLOW */
	u16 limit; /* of the path, in bytes with a NUL; 0: KAIROS_PATH_MAX */
	unsigned long path;
};

static __always_inline u32 name__append(struct scratch *sc, u32 at, const struct name_args *n, bool second, u32 *shape)
{
	struct kairos_record *r = &sc->record;
	u32 text = at, name_len, path_len;
	struct start st = {};

	/* The string first: its shape tells where it starts. Then the way up from there. */
	at = scratch__string(sc->index, text, n->path, n->limit ?: KAIROS_PATH_MAX);
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
__noinline int call__names(u32 op, const struct name_args *first, const struct name_args *second,
                                  const struct call_args *args)
{
	struct kairos_control *ctl = control__get();
	u32 shape = SHAPE_FAULT, shape2 = SHAPE_FAULT;
	u32 dev = 0, at, slot = KAIROS_NO_SLOT;
	struct kairos_slot *s = NULL;
	bool known = false, wake;
	struct scratch *sc;
	struct moment m;
	struct mark mark;
	u64 now;

	if (!ctl || !first || !args)
		return 0;
	if (bpf_get_current_pid_tgid() >> 32 == ctl->own_pid)
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
		slot = device__slot(dev);
		s = bpf_map_lookup_elem(&slots, &slot);
		if (!s) {
			scratch__drop(sc);
			return 0;
		}
		m.now = now;
		m.begun = call__begun(args) ?: now;
		sc->record.kind = KAIROS_RECORD_CHANGE;
		/* Not by `seen`: each name is a change of its own. */
		mark = slot__change(s, slot, &m, op, false);
		scratch__mark(sc, slot, &mark);
		wake = mark.wake;
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

	/* A handle has no name. */
	if (call == CALL_HANDLE)
		return flags & O_TRUNC ? call__unknown(KAIROS_OP_TRUNCATE, args) : 0;
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
__noinline int rename__is_idle(const struct name_args *first, const struct name_args *second)
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

#define UTIME_OMIT ((1L << 30) - 2)

/* Whether utimensat(2) was asked to leave both times as they are. Of the two forms of 32-bit programs that is not looked at. */
static __noinline bool times__omitted(unsigned long user)
{
	struct {
		long seconds, nanoseconds;
	} times[2] = {};

	if (!user || bpf_probe_read_user(times, sizeof(times), (const void *)user))
		return false;
	return times[0].nanoseconds == UTIME_OMIT && times[1].nanoseconds == UTIME_OMIT;
}

/* Attributes of the descriptor's file: the path is a null pointer, as futimens() passes it. */
static __noinline int call__no_name(u32 call, const struct call_args *args)
{
	if (!args || (call == CALL_UTIMESAT && !args->narrow && times__omitted(args->a[2])))
		return 0;
	return call__file(args->a[0], KAIROS_OP_ATTR, args);
}

#define AF_UNIX 1
#define SOCKET_PATH_MAX 108 /* include/uapi/linux/un.h: UNIX_PATH_MAX */

/*
 * A UNIX socket got an address. One that begins with a NUL, or is empty, is no file. Called by the program itself: the frames of all
 * functions that are entered one from the other must fit in 512 bytes.
 */
static __noinline int call__bind(const struct call_args *args)
{
	struct name_args name = {.dirfd = AT_FDCWD};
	u64 address;
	u32 length;
	struct {
		u16 family;
		char first;
		char rest;
	} socket = {};

	if (!args || args->a[2] < 3)
		return 0;
	address = args->a[1];
	length = args->a[2];
	if (bpf_probe_read_user(&socket, 3, (const void *)address) || socket.family != AF_UNIX || !socket.first)
		return 0;
	/* It needs no NUL: the kernel puts one behind its length. */
	name.path = address + 2;
	name.limit = length - 2 < SOCKET_PATH_MAX ? length - 1 : SOCKET_PATH_MAX + 1;
	return call__names(KAIROS_OP_CREATE, &name, NULL, args);
}

#define SYS_BIND 2 /* include/uapi/linux/net.h */

/* The calls on sockets of 32-bit programs: (function, arguments), which are numbers of 32 bits each. True: it is bind(2), unpacked. */
static __noinline bool socketcall__unpack(struct call_args *args)
{
	u32 passed[3] = {};

	if (!args || args->a[0] != SYS_BIND || bpf_probe_read_user(passed, sizeof(passed), (const void *)args->a[1]))
		return false;
	args->a[1] = passed[1];
	args->a[2] = passed[2];
	return true;
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
	case CALL_CHMODAT:
	case CALL_UTIMESAT:
	case CALL_XATTRAT:
		first.dirfd = args->a[0];
		first.path = args->a[1];
		at_flags = call == CALL_CHOWNAT ? args->a[4] : call == CALL_XATTRAT ? args->a[2] :
			   call == CALL_ATTRAT ? 0 : args->a[3];
		first.flags = KAIROS_F_WHOLE | (at_flags & AT_SYMLINK_NOFOLLOW ? 0 : KAIROS_F_FOLLOW);
		if (call == CALL_UTIMESAT && !args->narrow && times__omitted(args->a[2]))
			return 0;
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

#endif
