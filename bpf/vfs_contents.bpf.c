// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Probe set `vfs`: what is in a file. Writes, by whatever way, room, mappings, and the commit points.
 */
#include "vfs.h"

/* Writes: by who calls the file system, and how many bytes it took. */

/* Of one whose position has moved on by what was written. */
static __always_inline int vfs__written(u64 file, u32 probe, s64 n, s64 position)
{
	struct event event = {.op = KAIROS_OP_WRITE, .probe = probe, .offset = position - n, .bytes = n};

	return n > 0 ? vfs__file(file, &event) : 0;
}

static __always_inline int vfs__written_by(u64 *ctx, u32 file, u32 probe, u32 position)
{
	s64 n = returned(ctx), at = n + KAIROS_NO_OFFSET;

	/* Only a trace tells where. */
	if (tracing)
		bpf_probe_read_kernel(&at, sizeof(at), (void *)arg(ctx, position));
	return vfs__written(arg(ctx, file), probe, n, at);
}

/*
 * Trace: functions that write by others of those here, which are silent meanwhile, by thread. (When a change is only
 * marked, seeing it twice does no harm.)
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, u64); /* the thread, as bpf_get_current_pid_tgid() says */
	__type(value, u32);
} within SEC(".maps");

static __always_inline int within__begin(u32 probe)
{
	u64 id = bpf_get_current_pid_tgid();

	bpf_map_update_elem(&within, &id, &probe, BPF_NOEXIST);
	return 0;
}

/* Whether it is for the one that asks to tell: nothing around it does. */
static __always_inline bool within__ends(u32 probe)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 *outer;

	if (!tracing)
		return true;
	outer = bpf_map_lookup_elem(&within, &id);
	if (!outer)
		return true;
	if (*outer != probe)
		return false;
	bpf_map_delete_elem(&within, &id);
	return true;
}

SEC("fentry/iter_file_splice_write")
int kairos_vfs_splice_entry(u64 *ctx)
{
	return within__begin(KAIROS_PROBE_SPLICE);
}

SEC("fentry/vfs_copy_file_range")
int kairos_vfs_copy_entry(u64 *ctx)
{
	return within__begin(KAIROS_PROBE_COPY);
}

/* (file, buffer, count, position) */
SEC("fexit/vfs_write")
int kairos_vfs_write(u64 *ctx)
{
	return vfs__written_by(ctx, 0, KAIROS_PROBE_WRITE, 3);
}

/* (file, vector, length, position, flags) */
SEC("fexit/vfs_writev")
int kairos_vfs_writev(u64 *ctx)
{
	return vfs__written_by(ctx, 0, KAIROS_PROBE_WRITEV, 3);
}

/* (file, iterator, position, flags) */
SEC("fexit/vfs_iter_write")
int kairos_vfs_iter_write(u64 *ctx)
{
	return within__ends(KAIROS_PROBE_ITER_WRITE) ? vfs__written_by(ctx, 0, KAIROS_PROBE_ITER_WRITE, 2) : 0;
}

/* (file, iocb, iterator) */
SEC("fexit/vfs_iocb_iter_write")
int kairos_vfs_iocb_write(u64 *ctx)
{
	struct kiocb *iocb = (void *)arg(ctx, 1);

	return vfs__written(arg(ctx, 0), KAIROS_PROBE_IOCB_WRITE, returned(ctx), BPF_CORE_READ(iocb, ki_pos));
}

/* (file, iterator, position) */
SEC("fexit/__kernel_write_iter")
int kairos_vfs_kernel_write(u64 *ctx)
{
	return vfs__written_by(ctx, 0, KAIROS_PROBE_KERNEL_WRITE, 2);
}

/* splice(2) and sendfile(2): (pipe, out, position, length, flags). */
SEC("fexit/iter_file_splice_write")
int kairos_vfs_splice(u64 *ctx)
{
	return within__ends(KAIROS_PROBE_SPLICE) ? vfs__written_by(ctx, 1, KAIROS_PROBE_SPLICE, 2) : 0;
}

/* In whatever thread it runs. When it would block it returns -EAGAIN, and is called again in a worker. */
SEC("fexit/io_write")
int kairos_vfs_io_uring(u64 *ctx)
{
	struct io_kiocb *request = (void *)arg(ctx, 0);
	s32 status = (s32)returned(ctx);
	s32 n;

	if (status < 0 && status != -529 /* EIOCBQUEUED: done, the result is told already */)
		return 0;
	n = BPF_CORE_READ(request, cqe.res);
	return vfs__written((u64)BPF_CORE_READ(request, file), KAIROS_PROBE_IO_URING, n, n + KAIROS_NO_OFFSET);
}

static __always_inline int kiocb__done(struct kiocb *iocb, long n, u32 probe)
{
	if (!(BPF_CORE_READ(iocb, ki_flags) & IOCB_WRITE))
		return 0;
	return vfs__written((u64)BPF_CORE_READ(iocb, ki_filp), probe, n, BPF_CORE_READ(iocb, ki_pos));
}

/* The end of a write of io_submit(2), at once or later. */
SEC("fentry/aio_complete_rw")
int BPF_PROG(kairos_vfs_aio, struct kiocb *iocb, long n)
{
	return kiocb__done(iocb, n, KAIROS_PROBE_AIO);
}

/* Of io_uring, when the file system finished later. */
SEC("fentry/io_complete_rw")
int BPF_PROG(kairos_vfs_io_uring_late, struct kiocb *iocb, long n)
{
	return kiocb__done(iocb, n, KAIROS_PROBE_IO_URING);
}

/*
 * A thread of the kernel's own, such as a loop device's, may call the file system by none of the above. This is before
 * the write, so it is marked as early, and a check follows the snapshot.
 */
SEC("fentry/generic_write_checks")
int BPF_PROG(kairos_vfs_kernel_thread, struct kiocb *iocb)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct event event = EVENT(WRITE, KERNEL_THREAD);

	if (!(task->flags & PF_KTHREAD))
		return 0;
	event.offset = BPF_CORE_READ(iocb, ki_pos);
	event.early = true;
	return vfs__file((u64)BPF_CORE_READ(iocb, ki_filp), &event);
}

/* (in, position, out, position, length, flags) */
SEC("fexit/vfs_copy_file_range")
int kairos_vfs_copy(u64 *ctx)
{
	s64 n = returned(ctx);

	return within__ends(KAIROS_PROBE_COPY) ? vfs__written(arg(ctx, 2), KAIROS_PROBE_COPY, n, arg(ctx, 3) + n) : 0;
}

/* (in, position, out, position, length, flags) */
SEC("fexit/vfs_clone_file_range")
int kairos_vfs_clone(u64 *ctx)
{
	s64 n = returned(ctx);

	return vfs__written(arg(ctx, 2), KAIROS_PROBE_CLONE, n, arg(ctx, 3) + n);
}

/* How long a file was when the thread's fallocate(2) began, as bpf_get_current_pid_tgid() says. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, u64);
	__type(value, s64);
} sizes SEC(".maps");

static __always_inline s64 file__size(u64 pointer)
{
	struct inode *inode = inode__cast((u64)FIELD(file__cast(pointer), f_inode));

	return FIELD(inode, i_size);
}

/* (file, mode, offset, length) */
SEC("fentry/vfs_fallocate")
int kairos_vfs_fallocate_entry(u64 *ctx)
{
	u64 id = bpf_get_current_pid_tgid();
	s64 size;

	if (!fallocate__is_preallocation(arg(ctx, 1)))
		return 0;
	size = file__size(arg(ctx, 0));
	bpf_map_update_elem(&sizes, &id, &size, BPF_ANY);
	return 0;
}

SEC("fexit/vfs_fallocate")
int kairos_vfs_fallocate(u64 *ctx)
{
	struct event event = WRITTEN(FALLOCATE, arg(ctx, 3), arg(ctx, 2));
	struct kairos_control *ctl = control__get();
	u64 id = bpf_get_current_pid_tgid();
	bool changed = true;
	s64 *before;

	if (fallocate__is_preallocation(arg(ctx, 1))) {
		before = bpf_map_lookup_elem(&sizes, &id);
		if (before) {
			changed = *before != file__size(arg(ctx, 0));
			bpf_map_delete_elem(&sizes, &id);
		}
	}
	/* The call that is made to see whether this program runs changes nothing. */
	if ((s32)returned(ctx) || !ctl || (!changed && READ_ONCE(ctl->ready)))
		return 0;
	return vfs__file(arg(ctx, 0), &event);
}

/* Trace: (file, address, length, protection, flags, page offset in bytes). */
SEC("fexit/vm_mmap_pgoff")
int kairos_vfs_mmap(u64 *ctx)
{
	struct event event = EVENT(MAP, MMAP);
	s64 address = returned(ctx);
	u64 file = arg(ctx, 0);

	if (!file || (address < 0 && address >= -MAX_ERRNO))
		return 0;
	if (!(arg(ctx, 4) & MAP_SHARED_MASK) || !(arg(ctx, 3) & PROT_WRITE))
		return 0;
	event.bytes = arg(ctx, 2);
	event.offset = arg(ctx, 5) << 12;
	return vfs__file(file, &event);
}

/* The last close of a file that was changed in this epoch: a version is complete. In a trace: that was open for writing. */
SEC("fentry/__fput")
int BPF_PROG(kairos_vfs_fput, struct file *file)
{
	struct kairos_control *ctl = control__get();
	struct event event = EVENT(CLOSE, FPUT);
	struct seen_key key = {};
	struct kairos_slot *s;
	struct inode *inode;
	struct seen *known;
	u64 word;
	u32 slot;

	if (!ctl || !(tracing || READ_ONCE(ctl->commits)) || !(file->f_mode & FMODE_WRITE))
		return 0;
	inode = file->f_inode;
	if (tracing)
		return (inode->i_mode & S_IFMT) == S_IFREG ? vfs__file((u64)file, &event) : 0;
	key.device = inode->i_sb->s_dev;
	key.inode = inode->i_ino;
	key.generation = inode->i_generation;
	slot = device__slot(key.device);
	s = bpf_map_lookup_elem(&slots, &slot);
	if (!s)
		return 0;
	/* As change__mark() has noted it. */
	if (READ_ONCE(s->flags) & KAIROS_SLOT_WAKE_RECORD)
		key.name = BPF_CORE_READ(file, f_path.dentry, d_name.hash_len);
	known = bpf_map_lookup_elem(&seen, &key);
	if (!known)
		return 0;
	word = READ_ONCE(known->word);
	if (SEEN_EPOCH(word) != READ_ONCE(s->epoch) || !(word & (KAIROS_OP_CREATE | KAIROS_OP_WRITE | KAIROS_OP_TRUNCATE | KAIROS_OP_STORE)))
		return 0;
	return vfs__file((u64)file, &event);
}

SEC("fexit/vfs_fsync_range")
int kairos_vfs_fsync(u64 *ctx)
{
	struct event event = EVENT(SYNC, FSYNC);

	return (s32)returned(ctx) ? 0 : vfs__file(arg(ctx, 0), &event);
}

/* fsync(2) and fdatasync(2), attached only where the compiler has put the function above into theirs. */
SEC("fexit/do_fsync")
int kairos_vfs_fsync_call(u64 *ctx)
{
	struct event event = EVENT(SYNC, FSYNC);
	struct file *file;

	if ((s32)returned(ctx))
		return 0;
	file = file__of(arg(ctx, 0));
	return file ? vfs__file((u64)file, &event) : 0;
}
