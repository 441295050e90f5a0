/*
 * The epoch protocol between the BPF programs and user space (docs/design.md, "Why epochs"), for spin.
 *
 * Two writers change the files of two datasets; a snapshotter ends epochs and takes snapshots. What is checked: whenever a
 * writer is between changes, each change that is in no snapshot is marked, so that the snapshotter knows of it.
 *
 *   spin -run Tests/Model/epoch.pml                    no change is both unmarked and uncaptured
 *   spin -DMARK_BEFORE -run Tests/Model/epoch.pml      a variant that marks before the change: must fail
 *   spin -DPLAIN_STORE -run Tests/Model/epoch.pml      one that stores the mark without comparing: must fail
 */
#define DATASETS 2
#define WRITERS 2
#define CHANGES 2   /* by each writer */
#define SNAPSHOTS 2 /* of each dataset */

byte content[DATASETS];  /* changes done: the live files */
byte captured[DATASETS]; /* those that the newest snapshot holds */
byte epoch[DATASETS];    /* user space's */
byte marked[DATASETS];   /* the programs': dirty iff marked == epoch. Epochs begin at 1, so all are clean */
byte busy[DATASETS];     /* writers between the change and its mark */

/* slot__mark(): the epoch is read after the change is done, and the mark only grows. */
inline mark(d)
{
	e = epoch[d];
#ifdef PLAIN_STORE
	marked[d] = e;
#else
	do
	:: m = marked[d];
	   if
	   :: m >= e -> break
	   :: else ->
		atomic { /* compare and swap */
			if
			:: marked[d] == m -> marked[d] = e; swapped = true
			:: else -> swapped = false
			fi
		}
		if
		:: swapped -> break
		:: else
		fi
	   fi
	od
#endif
}

proctype writer()
{
	byte d, e, m, i;
	bool swapped;

	for (i : 1 .. CHANGES) {
		if
		:: d = 0
		:: d = 1
		fi;
#ifdef MARK_BEFORE
		mark(d);
		content[d]++
#else
		/* The system call: from its change to its mark it has not returned yet. */
		atomic { content[d]++; busy[d]++ };
		mark(d);
		busy[d]--
#endif
	}
}

proctype snapshotter()
{
	byte d, i;

	for (i : 1 .. SNAPSHOTS * DATASETS) {
		if
		:: d = 0
		:: d = 1
		fi;
		epoch[d]++;
		/* zfs snapshot: what is done by now is in it. It is taken some time after the epoch was moved on. */
		captured[d] = content[d]
	}
}

/* A change that no writer still has in hand is captured, or the slot is dirty, or its snapshot is on the way. */
#define SAFE(d) (busy[d] > 0 || content[d] == captured[d] || marked[d] == epoch[d])

init {
	byte d;

	atomic {
		epoch[0] = 1;
		epoch[1] = 1;
		run writer();
		run writer();
		run snapshotter()
	};
	/* At rest: all writers have returned and no snapshot is under way. */
	(_nr_pr == 1);
	for (d : 0 .. DATASETS - 1) {
		assert(SAFE(d))
	}
}
