/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Changes of files that a descriptor tells: file -> inode -> superblock.
 */
#ifndef KAIROS_DESCRIPTORS_H
#define KAIROS_DESCRIPTORS_H

#include "call.h"

#define O_CREAT 0100
#define O_TRUNC 01000
#define O_APPEND 02000
#define O_PATH 010000000

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

#endif
