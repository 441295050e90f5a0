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

/* One change on an open file, by its address. */
__noinline int change__file(u64 address, int fd, u32 op, const struct call_args *args)
{
	struct file *file = file__cast(address);
	struct inode *inode = FIELD(file, f_inode);
	struct change c = change__new(FIELD(inode, i_sb, s_dev), op, args ? args->probe : 0);
	u32 type;

	if (!args || !change__is_wanted(&c))
		return 0;
	c.result = args->result;
	c.offset = args->offset;
	c.bytes = args->bytes;
	c.syscall = args->number;
	c.fd = fd;
	c.early = args->early;
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
	change__inode(&c, inode);
	c.mnt = (u64)FIELD(file, f_path.mnt);
	c.dentry = (u64)FIELD(file, f_path.dentry);
	return change__tell(&c);
}

/* A change of an unknown file: its path cannot be read. */
__noinline int call__unknown(u32 op, const struct call_args *args)
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

/* Whether a descriptor stands for another file now than at the beginning of the caller's call. */
static __always_inline bool file__is_another(struct file *file)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct files_struct *files = task->files;
	struct beginning *start;

	if (tracing || !files || files->count.counter < 2)
		return false;
	start = bpf_task_storage_get(&begun, task, NULL, 0);
	return start && start->inode && start->inode != (u64)FIELD(file, f_inode);
}

static __always_inline int call__file(int fd, u32 op, const struct call_args *args)
{
	u64 address = file__address(fd);

	if (!address || file__is_another(file__cast(address))) {
		/* Closed by another thread since the call began. It was on some file. */
		if (!(op & KAIROS_OPS_CHANGE) && !tracing)
			return 0;
		struct kairos_control *ctl = control__get();

		if (args->result >= 0 && ctl)
			__sync_fetch_and_add(&ctl->unmatched, 1);
		return call__unknown(op, args);
	}
	return change__file(address, fd, op, args);
}

#define MADV_REMOVE 9 /* include/uapi/asm-generic/mman-common.h */

/* The file behind an address of the caller's, of which madvise(2) has punched a part out. */
static long vma__changed(struct task_struct *task, struct vm_area_struct *vma, void *context)
{
	const struct call_args *args = context;
	u64 address = (u64)BPF_CORE_READ(vma, vm_file);

	/* One that reaches into the next mapping may have changed another file too. */
	if (!address || BPF_CORE_READ(vma, vm_end) < args->a[0] + args->a[1])
		return call__unknown(KAIROS_OP_WRITE, args);
	return change__file(address, -1, KAIROS_OP_WRITE, args);
}

static __always_inline int call__unmapped(struct call_args *args)
{
	if (!args)
		return 0;
	if (bpf_find_vma(bpf_get_current_task_btf(), args->a[0], vma__changed, args, 0))
		call__unknown(KAIROS_OP_WRITE, args);
	return 0;
}

#define SUBMITTED_MAX 4096 /* requests of one io_submit(2) that are looked at; programs submit 128 or so */
#define IOCB_CMD_PWRITE 1 /* include/uapi/linux/aio_abi.h */
#define IOCB_CMD_PWRITEV 8

/* The beginning of struct iocb, of include/uapi/linux/aio_abi.h. */
struct submitted {
	u64 data;
	u32 key, rw_flags;
	struct submitted_request {
		u16 opcode;
		u16 priority;
		u32 fd;
	} request;
	u64 buffer, bytes;
	s64 offset;
};

/*
 * One request of an io_submit(2), by its number. Returns 1 to end the loop: it, or its file, cannot be read. It reads
 * piece by piece, since the frames of all that are entered one from the other must fit in 512 bytes.
 */
static long call__submitted(u32 number, void *context)
{
	struct call_args *args = context;
	struct submitted_request request = {};
	struct submitted *iocb = NULL;
	u64 address = 0;
	u32 size = args->narrow ? sizeof(u32) : sizeof(iocb);

	if (!bpf_probe_read_user(&iocb, size, (void *)(args->a[2] + number * size)) &&
	    !bpf_probe_read_user(&request, sizeof(request), &iocb->request)) {
		if (request.opcode != IOCB_CMD_PWRITE && request.opcode != IOCB_CMD_PWRITEV)
			return 0;
		address = file__address(request.fd);
	}
	if (!address) {
		call__unknown(KAIROS_OP_WRITE, args);
		return 1;
	}
	if (tracing) {
		/* As it was asked for. Of several buffers their number is there, and not their bytes. */
		bpf_probe_read_user(&args->bytes, sizeof(args->bytes), &iocb->bytes);
		bpf_probe_read_user(&args->offset, sizeof(args->offset), &iocb->offset);
		if (request.opcode == IOCB_CMD_PWRITEV)
			args->bytes = 0;
	}
	change__file(address, -1, KAIROS_OP_WRITE, args);
	return 0;
}

/* What is submitted may be done already or later. Reads are no change; a loop of the kernel's is verified once. */
static __always_inline int call__submit(struct call_args *args)
{
	u32 count;

	if (!args)
		return 0;
	args->early = true;
	count = args->result > SUBMITTED_MAX ? SUBMITTED_MAX : args->result;
	bpf_loop(count, call__submitted, args, 0);
	return args->result > SUBMITTED_MAX ? call__unknown(KAIROS_OP_WRITE, args) : 0;
}

/* The flags come from the caller: the kernel takes O_TRUNC out of the file's own when it has obeyed it. */
static __always_inline u64 open__flags(u32 call, const struct call_args *args)
{
	u64 flags = 0;

	switch (call) {
	case CALL_OPEN:
		return args->a[1];
	case CALL_OPENAT:
	case CALL_HANDLE:
		return args->a[2];
	case CALL_OPENAT2: /* struct open_how begins with them */
		bpf_probe_read_user(&flags, sizeof(flags), (const void *)args->a[2]);
		return flags;
	}
	return O_TRUNC; /* creat() */
}

static __noinline int call__open(int fd, u32 call, const struct call_args *args)
{
	u64 flags = open__flags(call, args), address;

	/* Most opens are for reading, and end here. With O_PATH the other flags mean nothing. */
	if (flags & O_PATH && call != CALL_CREAT)
		return 0;
	if (!(flags & (O_CREAT | O_TRUNC | O_TMPFILE_BIT)) && call != CALL_CREAT)
		return 0;
	address = file__address(fd);
	if (!address)
		return call__file(fd, KAIROS_OP_CREATE, args); /* counts it */
	if (FIELD(file__cast(address), f_mode) & FMODE_CREATED || flags & O_TMPFILE_BIT)
		return change__file(address, fd, KAIROS_OP_CREATE, args);
	if (flags & O_TRUNC)
		return change__file(address, fd, KAIROS_OP_TRUNCATE, args);
	return 0;
}

static __noinline int call__close(int fd, const struct call_args *args)
{
	struct written_key key = {.pid = bpf_get_current_pid_tgid() >> 32, .fd = fd};
	struct written *w = bpf_map_lookup_elem(&written, &key);
	struct seen_key skey = {};
	struct kairos_slot *s;
	struct moment m = {};
	struct scratch *sc;
	struct mark mark;
	u32 slot;

	if (!w)
		return 0;
	slot = device__slot(w->device);
	s = bpf_map_lookup_elem(&slots, &slot);
	if (!s)
		goto forget;
	skey.inode = w->inode;
	skey.device = w->device;
	skey.generation = w->generation;
	m.now = bpf_ktime_get_ns();
	mark = slot__change(s, slot, &m, KAIROS_OP_CLOSE, false);
	if (!seen__first(&skey, mark.epoch, KAIROS_OP_CLOSE))
		goto forget;
	sc = scratch__begin(KAIROS_PROBE_SYSCALLS, KAIROS_RECORD_CHANGE, KAIROS_OP_CLOSE, m.now);
	if (!sc) {
		__sync_fetch_and_add(&s->lost, 1);
		goto forget;
	}
	scratch__mark(sc, slot, &mark);
	sc->record.device = w->device;
	sc->record.inode = w->inode;
	sc->record.generation = w->generation;
	if (!send_call(sc, 0, args, true))
		__sync_fetch_and_add(&s->lost, 1);
forget:
	bpf_map_delete_elem(&written, &key);
	return 0;
}

/* The size before the call is not known any more: one that asks for exactly as much as there is counts as a change. */
static __always_inline bool fallocate__is_idle(const struct call_args *args)
{
	struct file *file;
	struct inode *inode;

	if (!fallocate__is_preallocation(args->a[1]))
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
