/*
 * Wake-ups for candidates (bpf/record.h, scratch__send(); Daemon+Records.swift, rearmCandidates()), for spin.
 *
 * Programs write records to a ring and wake user space only for the first: `pending` is set while a wake-up is under way. User
 * space clears it, then drains the ring, then sleeps. Checked: when all programs have ended and user space sleeps, the ring is
 * empty. A candidate left in the ring is a change that Kairos does not know of.
 *
 *   spin -run Tests/Model/wakeup.pml                  the protocol as built
 *   spin -DLOOK_ONCE -run Tests/Model/wakeup.pml      a program that does not look again: must fail
 *   spin -DDRAIN_FIRST -run Tests/Model/wakeup.pml    user space that empties before it clears: must fail
 *
 * The loads and stores of the model are in one order for all. In the kernel the commit of a record is an exchange, which is a full
 * barrier between the record and the look at `pending`; user space has one between its store and its look at the ring.
 */
#define PROGRAMS 2
#define RECORDS 2 /* by each */

bool pending = false;
bool woken = false; /* the ring's descriptor is readable */
byte ring = 0;      /* records that user space has not taken */
byte done = 0;      /* programs at their end */
bool asleep = false;

inline first(wake)
{
	/* wake__first(): a load and a store, not one step. Two may both wake. */
	if
	:: pending -> wake = false
	:: else -> pending = true; wake = true
	fi
}

active [PROGRAMS] proctype program()
{
	byte i;
	bool wake;

	for (i : 1 .. RECORDS) {
		first(wake);
		atomic { ring++; woken = woken || wake };
#ifndef LOOK_ONCE
		if
		:: !wake ->
			first(wake);
			if
			:: wake -> atomic { ring++; woken = true }
			:: else
			fi
		:: else
		fi
#endif
	}
	done++
}

active proctype user()
{
	do
	:: asleep = true;
end:	   woken;
	   atomic { asleep = false; woken = false };
#ifdef DRAIN_FIRST
	   ring = 0;
	   pending = false
#else
	   pending = false;
	   ring = 0
#endif
	od
}

active proctype judge()
{
	/* No process can take a step any more. */
end:	atomic { done == PROGRAMS && asleep && !woken -> assert(ring == 0) }
}
