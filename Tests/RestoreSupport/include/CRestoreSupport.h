/* SPDX-License-Identifier: BSD-2-Clause */
/* Makes trees of all that a file system can hold, and writes down what a tree is. Shares nothing with what it judges. */
#ifndef KAIROS_CRESTORESUPPORT_H
#define KAIROS_CRESTORESUPPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Fills the directory with some `count` entries of all kinds, names, owners, permissions, times, attributes, holes and links. The
 * same for the same seed. Returns how many kinds of calls the file system refused (attributes, say), or -1 with errno.
 */
int tree_make(const char *root, uint64_t seed, unsigned count);

/*
 * A line for each entry of a tree, sorted: path, kind, mode, owner, times, size, content's checksum, stretches of data, link target,
 * device number, attributes, hard links by the first path. To be freed. NULL with errno.
 */
char *tree_record(const char *root);
/* Without the stretches of data and the attributes: for comparing across kinds of file systems. */
char *tree_record_plain(const char *root);

/* Directories in each other, with names of so many bytes, and a file at the end. */
int tree_deep(const char *root, unsigned depth, unsigned name_length);
/* How deep it is, with the file at its end; -1 when it is not all there. Has one directory open at a time. */
int tree_depth(const char *root, unsigned name_length);

int tree_set_xattr(const char *path, const char *name, const void *value, size_t size);
/* Length, or -1. */
ssize_t tree_get_xattr(const char *path, const char *name, void *value, size_t size);
int tree_set_flags(const char *path, unsigned flags);
int tree_get_flags(const char *path);
extern const int tree_immutable;

/* A file system in memory, of so many bytes. */
int tree_mount(const char *target, const char *options);
int tree_unmount(const char *target);

/*
 * A thread that swaps names in a directory without end: whatever begins with `.kairos-restore-`, and `victim`, is renamed away and
 * a symbolic link to `decoy`, or a directory, is put there for a moment. Returns how often it did when stopped.
 */
struct tree_racer;
struct tree_racer *tree_race(const char *directory, const char *victim, const char *decoy);
unsigned long tree_race_stop(struct tree_racer *racer);

/* Runs a program with four arguments after its mode, its output thrown away, and kills it after so many microseconds. 0, or an errno. */
int tree_run_and_kill(const char *program, const char *mode, const char *root, const char *path, const char *directory,
                      const char *name, unsigned microseconds);

/* As a user without privileges, renames a directory into one that is open. 0, or an error number. */
int tree_move_in(uid_t user, const char *from, int directory, const char *name);

/* A child that holds a lock of fcntl(2) on these bytes until it is killed: its process ID, or -1. */
pid_t tree_hold_lock(const char *path, long start, long length);

#endif
