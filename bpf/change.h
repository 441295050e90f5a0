/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A change of a file that the kernel has at hand, as opposed to a path: what all probe sets do about it.
 */
#ifndef KAIROS_CHANGE_H
#define KAIROS_CHANGE_H

#include "trace.h"

#define FMODE_WRITE 0x2 /* include/linux/fs.h, as the next one */
#define FMODE_CREATED 0x100000 /* include/linux/fs.h, since 4.19 */
#define O_TMPFILE_BIT 020000000 /* __O_TMPFILE */
#define S_IFMT 0170000
#define S_IFREG 0100000
#define S_IFDIR 0040000
#define MAP_SHARED_MASK 0x01 /* MAP_SHARED and MAP_SHARED_VALIDATE */
#define PROT_WRITE 0x2
#define FICLONE 0x40049409 /* include/uapi/linux/fs.h, as the next ones */
#define FICLONERANGE 0x4020940d
#define FS_IOC_SETFLAGS 0x40086602
#define FS_IOC32_SETFLAGS 0x40046602
#define FS_IOC_FSSETXATTR 0x401c5820
#define ZFS_IOC_SETDOSFLAGS 0x40088302 /* OpenZFS's include/sys/fs/zfs.h */
/* By direction, type and number alone: their argument is shorter for 32-bit programs (include/linux/falloc.h). */
#define IOCTL_KIND(request) ((request) & 0xc000ffffU)
#define FS_IOC_UNRESVSP 0x40005829
#define FS_IOC_UNRESVSP64 0x4000582b
#define FS_IOC_ZERO_RANGE 0x40005839

/* What an ioctl(2) on a file changes; 0: nothing. */
static __always_inline u32 ioctl__op(u32 request)
{
	switch (request) {
	case FICLONE:
	case FICLONERANGE:
		return KAIROS_OP_WRITE;
	case FS_IOC_SETFLAGS:
	case FS_IOC32_SETFLAGS:
	case FS_IOC_FSSETXATTR:
	case ZFS_IOC_SETDOSFLAGS:
		return KAIROS_OP_ATTR;
	}
	switch (IOCTL_KIND(request)) {
	case FS_IOC_UNRESVSP:
	case FS_IOC_UNRESVSP64:
	case FS_IOC_ZERO_RANGE:
		return KAIROS_OP_WRITE;
	}
	return 0;
}

/*
 * The address of the caller's open file; 0: there is none. A global function, like others that take and give numbers:
 * the verifier checks it once, and not once for each path that leads to it. Linux 6.19 gave up on kairos_syscalls_exit()
 * without that (docs/facts.md).
 */
__noinline u64 file__address(int fd)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct files_struct *files = task->files;
	struct fdtable *fdt;
	struct file **array;
	u64 address = 0;

	if (!files)
		return 0;
	fdt = files->fdt;
	if (!fdt || (u32)fd >= fdt->max_fds)
		return 0;
	array = fdt->fd;
	bpf_probe_read_kernel(&address, sizeof(address), array + (u32)fd);
	return address;
}

static __always_inline struct file *file__of(int fd)
{
	u64 address = file__address(fd);

	return address ? file__cast(address) : NULL;
}

#define FALLOC_FL_KEEP_SIZE 1 /* include/uapi/linux/falloc.h */

/* Whether a fallocate(2) only asks for room. Where the file is that long already, OpenZFS does nothing, and succeeds. */
static __always_inline bool fallocate__is_preallocation(u32 mode)
{
	return !tracing && !(mode & ~FALLOC_FL_KEEP_SIZE);
}

/* The descriptor of a written file, so that its close can be told: the file is gone when close() returns. */
struct written_key {
	u32 pid;
	s32 fd;
};

struct written {
	u64 inode;
	u32 device;
	u32 generation;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct written_key);
	__type(value, struct written);
} written SEC(".maps");

/* What a name stood for before it was taken away, or moved: at the end of the call nobody knows any more. */
struct old_name {
	u64 inode;
	u32 generation;
	u32 length; /* of the name, with its NUL; 0 where it is not needed */
	u64 parent;
	char name[KAIROS_NAME_MAX];
};

/* By thread, from the beginning of its call to the end. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, u64); /* the thread, as bpf_get_current_pid_tgid() says */
	__type(value, struct old_name);
} old_names SEC(".maps");

/* What changed, by whom it was seen, and where its name is. */
struct change {
	struct seen_key key; /* inode, device, generation; the name is change__mark()'s */
	u32 slot; /* of the device: not KAIROS_NO_SLOT unless in a trace */
	u32 op;
	u32 probe;
	u64 mnt;    /* the mount that it was reached by; 0: unknown */
	u64 dentry; /* of the file; 0: unknown */
	s64 result;
	u64 begun;  /* when its call began; 0: unknown */
	s64 offset; /* trace: as in a record */
	u64 bytes;
	u32 syscall;
	u32 flags;  /* enum kairos_record_flag */
	s32 fd;               /* of a descriptor whose close is to be told, else -1 */
	bool moved;           /* a rename: `old_names` has where it was */
	bool early;           /* the change is not done yet, and may be in the epoch after the one marked */
	bool hidden;          /* the file has no name: deleted and still open, or not linked yet */
};

/* The one beginning of each. `device` and `op` are all that is known of every change. */
static __always_inline struct change change__new(u32 device, u32 op, u32 probe)
{
	return (struct change){
	    .key.device = device,
	    .slot = device__slot(device),
	    .op = op,
	    .probe = probe,
	    .offset = KAIROS_NO_OFFSET,
	    .syscall = KAIROS_NO_SYSCALL,
	    .fd = -1,
	};
}

/* False: its file system is not watched. */
static __always_inline bool change__is_wanted(const struct change *c)
{
	return tracing || c->slot != KAIROS_NO_SLOT;
}

/* What it is a change of. */
static __always_inline void change__inode(struct change *c, struct inode *inode)
{
	c->key.inode = FIELD(inode, i_ino);
	c->key.generation = FIELD(inode, i_generation);
	c->hidden = !FIELD(inode, i_nlink);
}

/* Remember whose descriptor wrote the file. The common case, the same one again, costs one look-up. */
static __always_inline void written__note(const struct change *c, u64 epoch)
{
	struct written_key wkey = {.pid = bpf_get_current_pid_tgid() >> 32, .fd = c->fd};
	struct seen *known = bpf_map_lookup_elem(&seen, &c->key);
	struct written w = {.inode = c->key.inode, .device = c->key.device, .generation = c->key.generation};

	if (known && known->pid == wkey.pid && known->fd == c->fd && SEEN_EPOCH(READ_ONCE(known->word)) == epoch)
		return;
	bpf_map_update_elem(&written, &wkey, &w, BPF_ANY);
	if (known) {
		known->pid = wkey.pid;
		known->fd = c->fd;
	}
}

/* What a record tells of the file. Returns the length of the paths behind it. */
static __always_inline u32 change__describe(const struct change *c, struct scratch *sc)
{
	struct old_name *b = NULL;
	u32 at = 0, start;

	sc->record.device = c->key.device;
	sc->record.inode = c->key.inode;
	sc->record.generation = c->key.generation;
	if (c->mnt)
		sc->record.mount = mount__id((void *)c->mnt);
	sc->record.result = c->result;
	sc->record.syscall = c->syscall;
	sc->record.flags |= c->flags;
	sc->walk_device = c->key.device;
	if (c->moved) {
		u64 id = bpf_get_current_pid_tgid();

		b = bpf_map_lookup_elem(&old_names, &id);
	}
	if (b) {
		/* Where it was, in the form of a walked path. */
		u32 length = b->length;

		if (length > KAIROS_NAME_MAX)
			length = KAIROS_NAME_MAX;
		bpf_probe_read_kernel(sc->data, length, b->name);
		sc->walk = b->parent;
		at = scratch__walk(sc->index, length);
		sc->record.path_len = at;
	}
	if (c->dentry) {
		start = at;
		sc->walk = c->dentry;
		at = scratch__walk(sc->index, start);
		if (b)
			sc->record.path2_len = at - start;
		else
			sc->record.path_len = at;
	}
	return at;
}

/* Who does what to which file: what a repeat has in common with the record before it. */
static __always_inline void recent__describe(struct recent *t, const struct change *c)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct dentry *dentry = dentry__cast(c->dentry);

	t->task = (u64)task;
	t->started = task->start_time;
	t->cred = (u64)task->cred;
	t->dentry = c->dentry;
	t->parent = (u64)FIELD(dentry, d_parent);
	t->name = FIELD(dentry, d_name.hash_len);
	t->mnt = c->mnt;
	t->inode = c->key.inode;
	t->device = c->key.device;
	t->generation = c->key.generation;
	bpf_get_current_comm(t->comm, sizeof(t->comm));
}

static __always_inline bool recent__is(const struct recent *t, const struct recent *now)
{
	return t->task == now->task && t->started == now->started && t->cred == now->cred && t->dentry == now->dentry &&
	       t->parent == now->parent && t->name == now->name && t->mnt == now->mnt && t->inode == now->inode &&
	       t->device == now->device && t->generation == now->generation && t->comm[0] == now->comm[0] &&
	       t->comm[1] == now->comm[1];
}

static __always_inline u32 change__flags(const struct change *c)
{
	return c->flags | (c->hidden ? KAIROS_F_UNLINKED : 0) | (c->early ? KAIROS_F_EARLY : 0);
}

/* Trace: tell in short. */
static __noinline int change__repeat(const struct change *c, u64 now, u32 serial)
{
	struct kairos_control *ctl = control__get();
	struct kairos_repeat *r;

	if (!c || !ctl)
		return 0;
	r = bpf_ringbuf_reserve(&ring, sizeof(*r), 0);
	if (!r) {
		record__lost(ctl, KAIROS_RECORD_REPEAT);
		return 0;
	}
	*r = (struct kairos_repeat){
	    .kind = KAIROS_RECORD_REPEAT,
	    .op = c->op,
	    .time_ns = now,
	    .result = c->result,
	    .offset = c->offset,
	    .bytes = c->bytes,
	    .cpu = bpf_get_smp_processor_id(),
	    .serial = serial,
	    .syscall = c->syscall,
	    .probe = c->probe,
	    .flags = change__flags(c),
	};
	bpf_ringbuf_submit(r, wake__first(ctl) ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP);
	__sync_fetch_and_add(&ctl->sent, 1);
	return 0;
}

/* Trace: tell in full. Returns whether it was sent, whole. */
static __always_inline bool change__full(const struct change *c, struct kairos_control *ctl, u64 now, u32 serial)
{
	struct scratch *sc;
	u32 at;

	sc = scratch__begin(c->probe, KAIROS_RECORD_CHANGE, c->op, now);
	if (!sc)
		return false;
	sc->record.offset = c->offset;
	sc->record.bytes = c->bytes;
	sc->record.flags = change__flags(c);
	sc->record.cpu = bpf_get_smp_processor_id();
	sc->record.serial = serial;
	/* The tree itself, which may have lost its name. */
	if (trace_by & KAIROS_BY_TREE && tree__of(ctl, c->key.device, c->key.inode) == KAIROS_TREE_ROOT)
		sc->below = KAIROS_TREE_ROOT;
	at = change__describe(c, sc);
	if (trace__is_below(ctl, sc, c->slot))
		return scratch__send(sc, at, wake__first(ctl));
	scratch__drop(sc);
	return false;
}

/* Makes the record just sent the one that repeats refer to, and gives the claim on it back. */
static __noinline int recent__note(u32 serial, u64 time)
{
	u32 last = RECENT_LAST, next = RECENT_NOW;
	struct recent *t = bpf_map_lookup_elem(&recents, &last);
	struct recent *here = bpf_map_lookup_elem(&recents, &next);

	if (!t || !here)
		return 0;
	here->busy = 1;
	here->serial = serial;
	here->time = time;
	*t = *here;
	WRITE_ONCE(t->busy, 0);
	return 0;
}

/* Trace: tell, every time. */
static __noinline int change__trace(const struct change *c)
{
	struct kairos_control *ctl = control__get();
	u32 last = RECENT_LAST, next = RECENT_NOW, serial = 0;
	u64 now = bpf_ktime_get_ns();
	struct recent *t, *here;
	bool sent;

	if (!c || !ctl || !trace__wanted(ctl, c->op) || !trace__has_device(ctl, c->slot))
		return 0;
	t = bpf_map_lookup_elem(&recents, &last);
	here = bpf_map_lookup_elem(&recents, &next);
	/* A rename has two names to tell. */
	if (t && here && c->dentry && !c->moved && !__sync_lock_test_and_set(&t->busy, 1)) {
		recent__describe(here, c);
		if (t->time && now - t->time < KAIROS_REPEAT_NS && recent__is(t, here)) {
			change__repeat(c, now, t->serial);
			WRITE_ONCE(t->busy, 0);
			return 0;
		}
		serial = t->serial + 1 ?: 1;
	}
	sent = change__full(c, ctl, now, serial);
	/* Only what was sent can be referred to. */
	return serial ? recent__note(serial, sent ? now : 0) : 0;
}

/* Mark, then tell, once per inode, op and epoch. */
static __noinline int change__mark(struct change *c)
{
	struct kairos_control *ctl = control__get();
	struct kairos_slot *s;
	struct scratch *sc;
	struct moment m;
	struct mark mark;
	u32 slot, flags;

	if (!c || !ctl)
		return 0;
	slot = c->slot;
	if (bpf_get_current_pid_tgid() >> 32 == ctl->own_pid)
		return 0;
	m.now = bpf_ktime_get_ns();
	m.begun = c->begun ?: m.now;
	s = bpf_map_lookup_elem(&slots, &slot);
	if (!s)
		return 0;
	if (c->hidden) {
		__sync_fetch_and_add(&s->hidden, 1);
		return 0;
	}
	flags = READ_ONCE(s->flags);
	/* Ignore rules go by names. But a page is dirtied by an inode, under whatever name it was mapped. */
	if (flags & KAIROS_SLOT_WAKE_RECORD && c->op != KAIROS_OP_STORE && c->dentry) {
		struct dentry *dentry = (void *)c->dentry;

		c->key.name = BPF_CORE_READ(dentry, d_name.hash_len);
	}
	mark = slot__change(s, slot, &m, c->op, c->early);
	if (c->fd >= 0 && c->op == KAIROS_OP_WRITE && flags & KAIROS_SLOT_WAKE_COMMIT)
		written__note(c, mark.epoch);
	/* The change that makes a slot dirty wakes user space, reported before or not. */
	if (!seen__first(&c->key, mark.epoch, c->op) && !mark.dirtied)
		return 0;
	sc = scratch__begin(c->probe, KAIROS_RECORD_CHANGE, c->op, m.now);
	if (!sc) {
		__sync_fetch_and_add(&s->lost, 1);
		return 0;
	}
	scratch__mark(sc, slot, &mark);
	if (!scratch__send(sc, change__describe(c, sc), mark.wake))
		__sync_fetch_and_add(&s->lost, 1);
	return 0;
}

/* Two functions, since the frames of all that are entered one from the other must fit in 512 bytes. */
static __always_inline int change__tell(struct change *c)
{
	return tracing ? change__trace(c) : change__mark(c);
}

#endif
