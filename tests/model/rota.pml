/*
 * How runs move between pending, receipts and the history while nodes, connections and the database
 * fail. For spin; tests/model/test_model.py checks it, CONTRIBUTING.md says how to read what it prints.
 *
 * Modelled is what the product does; each step names its place. A statement is atomic, as the
 * database makes it so. What travels may be late, or lost with its connection: a claim, its answer, a
 * completion, its answer, a heartbeat's answer.
 *
 * Time is an order of events. What is assumed of clocks:
 *  - The lease that a node knows of ends no later than that of its row: it counts from when the renewal
 *    was sent. At its end the guard kills. So the row's ends after the node's; but a restart of the
 *    database may have lost a renewal, as heartbeats do not wait for the disk.
 *  - A node that is well and has a session renews in time; any other may be late by any time.
 *  - restart_delay is not shorter than the lease.
 * Nothing else: a lock that is free may be a death at any moment (two looks only spare the living, and
 * ending the connections of the dead only saves time), a statement may arrive after hours, a killed
 * coordinator's workers may go on until its lease is over.
 *
 * Left out: triggers (their rows are locked as pending ones are), batches (each open bit is a receipt
 * of its own; recovery takes all of an incarnation's in one step), pauses, retries (by the put_back
 * that is here), registrations whose answer is lost (rows without receipts).
 *
 * Bounds: three nodes, two runs; FAULTS of any kind at any moment, LATE messages that are held up for as
 * long as it takes. Who is stopped or cut off may come back at any time or never; who crashed may be
 * started again or not. One fault parts a node from its runs while a message of its is on the way; a
 * second meets the recovery of the first, or the recoverer; each further one needs a third node, or
 * begins anew where all is well. INCARNATIONS and CLAIMS follow from them: running out of these is an
 * error, no limit.
 *
 * LANES: which runs share the lane of limit 1; 3 both, 1 the first alone, 0 none.
 * WITHOUT_…: takes something away, and one of the assertions must fail.
 */

#ifndef FAULTS
#define FAULTS 1
#endif
#ifndef LATE
#define LATE 1
#endif
#ifndef LANES
#define LANES 3
#endif
#define NODES 3
#define RUNS 2
#define INCARNATIONS (FAULTS + 1) /* of a node */
#define CLAIMS 10                 /* of both runs that something still refers to */
#define NOBODY CLAIMS

#define which(c) ((c) / (CLAIMS / RUNS)) /* a claim's run */
#define laned(c) ((LANES >> which(c)) & 1)

/* ---- nodes: their processes ---- */

#define UP 0
#define STOPPED 1 /* SIGSTOP: the coordinator alone; guard and workers go on */
#define CRASHED 2

typedef Node {
    unsigned state : 2;
    bit cut;              /* nothing gets through between it and the database */
    bit lease;            /* as its guard knows it; of a crashed one: the guard has not ended yet */
    bit shorter;          /* the row may say less: a restart of the database has lost its renewal */
    bit renewed;          /* a heartbeat's answer is on its way */
#ifdef WITHOUT_DELAY_OF_THE_YOUNG
    bit young;            /* was started since the database was, and does not know of that */
#endif
    unsigned current : 3; /* its incarnation, 1…; 0: none */
    unsigned used : 3;
};
Node node[NODES];

/* ---- the database ---- */

typedef Incarnation {
    bit row;
    bit lock;  /* its session lives on the server */
    bit lease; /* lease_until is not over */
    bit ended; /* somebody takes it, and has ended its connections */
    bit waits; /* its plain runs were taken, those of lanes wait for the lease */
};
Incarnation incarnation[NODES * INCARNATIONS];

bit pending[RUNS];
byte history[RUNS];
byte slot = NOBODY; /* lane_slot of the one lane: whose claim has it */

/* ---- claims: an attempt to get a run, and what becomes of it ---- */

#define FREE 0     /* nothing refers to it */
#define PICKED 1   /* lane_pick.sql: the pending row is locked, the transaction is open */
#define SENT 2     /* run_claim.sql, or lane_take.sql with COMMIT: on its way */
#define ANSWERED 3 /* committed, the answer is on its way */
#define UNKNOWN 4  /* its node knows nothing of it (any more) */
#define RUNNING 5  /* with a worker */
#define VOID 6     /* the same, but nobody waits for it: it is being ended */
#define BACK 7     /* to be put back by its node */
#define OVER 8     /* the worker has answered; to be written */
#define WRITING 9  /* run_complete.sql is on its way, or its answer */

typedef Claim {
    unsigned step : 4;
    unsigned node : 2;
    unsigned incarnation : 4;
    bit waits;   /* its node waits for the answer */
    bit receipt; /* the open bit */
    bit late;    /* a run_complete.sql is on its way, whoever waits for it */
};
Claim claim[CLAIMS];

/* ---- for the checks alone ---- */

byte faults = FAULTS;   /* that are still to come */
byte late = LATE;
bit quiet;              /* from here on nothing fails and nothing comes back */
byte touched;           /* nodes that have claimed or failed: alike until then, so they do it in order */
bit begun;              /* the first run was claimed: two of a kind are alike until then */
byte allowed[RUNS] = 1; /* executions: one, and one for each recovery on record */

#define any_claim_of(p, x) (p(0, x) || p(1, x) || p(2, x) || p(3, x) || p(4, x) || p(5, x) || \
                            p(6, x) || p(7, x) || p(8, x) || p(9, x))
#define any_node_of(p, x) (p(0, x) || p(1, x) || p(2, x))

#define well(n) (node[n].state == UP && !node[n].cut)
#define current(n) ((n) * INCARNATIONS + node[n].current - 1)
#define connected(n) (well(n) && node[n].current > 0 && incarnation[current(n)].lock)
#define sees(n, i) (connected(n) && current(n) != (i))
#define delay_over (!delayed(0) && !delayed(1) && !delayed(2))
#ifdef WITHOUT_DELAY_OF_THE_YOUNG
#define judges(n, i) (sees(n, i) && (node[n].young || delay_over))
#else
#define judges(n, i) (sees(n, i) && delay_over)
#endif
#define executes(c) (claim[c].step == RUNNING || claim[c].step == VOID)
#define claiming(c, n) (claim[c].node == (n) && claim[c].waits)
#define writing(c, n) (claim[c].node == (n) && claim[c].step == WRITING)
#define of_lane(c, n) (claim[c].step != FREE && claim[c].node == (n) && laned(c))
#define locks(c, r) (which(c) == (r) && laned(c) && (claim[c].step == PICKED || claim[c].step == SENT))
#define receipt_of(c, i) (claim[c].receipt && claim[c].incarnation == (i))
#define lane_receipt_of(c, i) (receipt_of(c, i) && laned(c))
#define receipt_for(c, r) (claim[c].receipt && which(c) == (r))
#define alive(c, x) (claim[c].step != FREE)
#define unfinished (pending[0] || pending[1] || any_claim_of(alive, 0)) /* else nothing can go wrong */
#define twin(c, d) ((c) != (d) && claim[d].step == RUNNING && !laned(d) && !claim[d].receipt && !claim[c].receipt && \
                    claim[c].step == RUNNING && which(c) == which(d) && claim[c].incarnation == claim[d].incarnation)
#define places(r) (pending[r] + history[r] + receipt_for(0, r) + receipt_for(1, r) + receipt_for(2, r) + \
                   receipt_for(3, r) + receipt_for(4, r) + receipt_for(5, r) + receipt_for(6, r) + receipt_for(7, r) + \
                   receipt_for(8, r) + receipt_for(9, r))

#ifdef WITHOUT_SLOT
#define room(r) 1
#else
#define room(r) (!((LANES >> (r)) & 1) || slot == NOBODY)
#endif
#define claimable(r) (pending[r] && !any_claim_of(locks, r) && room(r))
#ifdef WITHOUT_KEY
#define refused(c) 0
#else
#define refused(c) (!incarnation[claim[c].incarnation].row)
#endif
#ifdef WITHOUT_STEP_NUMBER
#define forgotten(c) (claim[c].step == UNKNOWN || claim[c].step == ANSWERED)
#else
#define forgotten(c) (claim[c].step == UNKNOWN)
#endif
#ifdef WITHOUT_LOCK_DELAY
#define takes(c, i) receipt_of(c, i)
#else
#define takes(c, i) (receipt_of(c, i) && (!laned(c) || !incarnation[i].lease))
#endif
#ifdef WITHOUT_CLAIM_INCARNATION
#define stale(c) 0
#else
#define stale(c) (claim[c].incarnation != current(claim[c].node))
#endif
#ifdef WITHOUT_RESTART_DELAY
#define delayed(n) 0
#else
#define delayed(n) (node[n].shorter && (node[n].lease || well(n)))
#endif

/* Every move keeps a run in exactly one place, and it is over once. */
inline moved(r)
{
    assert(history[r] <= 1); /* over twice */
    assert(places(r) == 1)   /* lost, or in two places */
}

/* Forgets what nothing refers to, so that equal situations are one state. */
inline tidy(c)
{
    if
    :: (claim[c].step == UNKNOWN && !claim[c].receipt && !claim[c].late) || any_claim_of(twin, c) ->
        claim[c].step = FREE; claim[c].node = 0; claim[c].incarnation = 0; claim[c].waits = 0
    :: else
    fi
}

/* rota.lane_release() */
inline release(c)
{
    if
    :: slot == c -> slot = NOBODY
    :: else
    fi
}

/* rota.put_back() */
inline put_back(c)
{
    claim[c].receipt = 0;
    pending[which(c)] = 1;
    release(c);
    moved(which(c))
}

/* A run is given to a worker: coord/dispatch.c. */
inline begin(c, d)
{
    printf("node %d: run %d begins, by claim %d\n", claim[c].node, which(c), c);
    if
    :: laned(c) ->
        d = 0;
        do
        :: d < CLAIMS ->
            assert(d == c || !laned(d) || !executes(d)); /* two of a lane at once */
            d++
        :: else -> break
        od;
        d = 0
    :: else ->
        assert(allowed[which(c)] > 0); /* again, with no recovery on record */
        allowed[which(c)]--
    fi;
    claim[c].step = RUNNING
}

/* run_claim.sql, lane_take.sql. An incarnation's row cannot go while it executes: the key. */
inline execute(c)
{
    if
    :: !pending[which(c)] || (!laned(c) && any_claim_of(locks, which(c))) || !room(which(c)) || refused(c) ->
        claim[c].step = UNKNOWN;
        claim[c].waits = 0;
        tidy(c)
    :: else ->
        printf("node %d: claim %d of run %d commits\n", claim[c].node, c, which(c));
        pending[which(c)] = 0;
        claim[c].receipt = 1;
        if
        :: laned(c) -> slot = c
        :: else
        fi;
        if
        :: claim[c].waits -> claim[c].step = ANSWERED
        :: else -> claim[c].step = UNKNOWN
        fi;
        moved(which(c))
    fi
}

/* acquire_on_claimed(), dispatch(): a lane run only under the lease */
inline take_answer(c, d)
{
    claim[c].waits = 0;
    if
    :: stale(c) -> claim[c].step = UNKNOWN; tidy(c)
    :: !stale(c) && laned(c) && !node[claim[c].node].lease -> claim[c].step = BACK
    :: else -> begin(c, d)
    fi
}

/* run_complete.sql, whenever it arrives; and its answer */
inline complete(c, d)
{
    claim[c].late = 0;
    d = c;
#ifdef WITHOUT_FENCE
    d = 0; /* the run counts, whoever has claimed it by now */
    do
    :: d < CLAIMS && !receipt_for(d, which(c)) -> d++
    :: else -> break
    od;
    if
    :: d == CLAIMS -> d = c
    :: else
    fi;
#endif
    if
    :: claim[d].receipt ->
        printf("node %d: run %d is over, of claim %d\n", claim[c].node, which(c), d);
        claim[d].receipt = 0;
        history[which(d)]++;
        release(d);
        moved(which(d));
        tidy(d)
    :: else ->
        printf("node %d: claim %d completes run %d too late\n", claim[c].node, c, which(c));
#ifdef WITHOUT_ONCE
        history[which(c)]++;
        moved(which(c))
#endif
    fi;
    d = 0;
    if
    :: claim[c].step == WRITING && well(claim[c].node) -> claim[c].step = UNKNOWN
    :: else
    fi;
    tidy(c)
}

/* flush() */
inline write(c, d)
{
    claim[c].step = WRITING;
    if
    :: complete(c, d)
    :: late > 0 -> late--; claim[c].late = 1
    fi
}

/* Connections of an incarnation are ended on the server. Of answers some have arrived. */
inline end_connections(i, c)
{
    c = 0;
    do
    :: c < CLAIMS ->
        if
        :: claim[c].step != FREE && claim[c].incarnation == i ->
            claim[c].late = 0;
            if
            :: claim[c].step <= ANSWERED -> claim[c].step = UNKNOWN; claim[c].waits = 0
            :: claim[c].step == ANSWERED /* the node has it, and has not read it */
            :: claim[c].step == WRITING -> claim[c].step = OVER
            :: claim[c].step > ANSWERED && claim[c].step != WRITING
            fi;
            tidy(c)
        :: else
        fi;
        c++
    :: else -> break
    od;
    c = 0
}

/* acquire_lost(), pipeline_lost(): nobody waits any more; the server may still do what it was told. */
inline lose_work(n, c)
{
    c = 0;
    do
    :: c < CLAIMS ->
        if
        :: claim[c].step != FREE && claim[c].node == n ->
            claim[c].waits = 0;
            if
            :: claim[c].step == ANSWERED || (claim[c].step == PICKED && !node[n].cut) -> claim[c].step = UNKNOWN
            :: claim[c].step == WRITING -> claim[c].step = OVER
            :: else
            fi;
            tidy(c)
        :: else
        fi;
        c++
    :: else -> break
    od;
    c = 0
}

/* node_register.sql: the row, its lock and its lease */
inline register(n)
{
    assert(node[n].used < INCARNATIONS); /* a bound is too small */
    node[n].used++;
    node[n].current = node[n].used;
    incarnation[current(n)].row = 1;
    incarnation[current(n)].lock = 1;
    incarnation[current(n)].lease = 1;
    node[n].lease = 1;
    node[n].shorter = 0;
    node[n].renewed = 0;
    run Row(current(n))
}

/* declared_dead(), register_again(): what runs is void, what is finished is dropped */
inline declared_dead(n, c)
{
    printf("node %d: was declared dead, registers anew\n", n);
    c = 0;
    do
    :: c < CLAIMS ->
        if
        :: claim[c].step != FREE && claim[c].node == n ->
            if
            :: claim[c].step == RUNNING && laned(c) -> claim[c].step = VOID
            :: (claim[c].step == RUNNING && !laned(c)) || claim[c].step >= BACK -> claim[c].step = UNKNOWN
            :: else
            fi;
            tidy(c)
        :: else
        fi;
        c++
    :: else -> break
    od;
    c = 0;
    register(n)
}

proctype Attempt(byte c)
{
    byte d;
end:
    do
    /* on_rooms(), take_pending() */
    :: atomic { claim[c].step == PICKED && claim[c].waits && well(claim[c].node) -> claim[c].step = SENT }
#ifndef WITHOUT_IDLE_LIMIT
    /* idle_in_transaction_session_timeout */
    :: atomic {
            claim[c].step == PICKED && (!claim[c].waits || !well(claim[c].node)) ->
            claim[c].step = UNKNOWN;
            claim[c].waits = 0;
            tidy(c)
        }
#endif

    :: atomic { claim[c].step == SENT -> execute(c) }
    :: atomic { claim[c].step == ANSWERED && well(claim[c].node) -> take_answer(c, d) }

    /* complete_put_back() */
    :: atomic {
            claim[c].step == BACK && well(claim[c].node) ->
            if
            :: claim[c].receipt && claim[c].incarnation == current(claim[c].node) -> put_back(c)
            :: else
            fi;
            claim[c].step = UNKNOWN;
            tidy(c)
        }

#ifndef WITHOUT_RECONCILIATION
    /* compare_receipts(), receipt_put_back.sql: at two heartbeats, and its step is over */
    :: atomic {
            forgotten(c) && claim[c].receipt && connected(claim[c].node) &&
            claim[c].incarnation == current(claim[c].node) ->
            printf("node %d: puts back claim %d, of which it does not know\n", claim[c].node, c);
            put_back(c);
            tidy(c)
        }
#endif

    /* workers_finish(); flush(), if the database can be reached */
    :: atomic {
            claim[c].step == RUNNING ->
            printf("node %d: run %d ends, of claim %d\n", claim[c].node, which(c), c);
            claim[c].step = OVER;
            if
            :: well(claim[c].node) -> write(c, d)
            :: else
            fi
        }
    :: atomic { claim[c].step == OVER && well(claim[c].node) -> write(c, d) }
    :: atomic { claim[c].step == VOID -> claim[c].step = UNKNOWN; tidy(c) }
    :: atomic { claim[c].late -> complete(c, d) }
    :: atomic {
            claim[c].step == WRITING && !claim[c].late && well(claim[c].node) ->
            claim[c].step = UNKNOWN;
            tidy(c)
        }
    od
}

proctype Coordinator(byte n)
{
    byte c, d, r;
end:
    do
    /* node_may_claim(), acquire_work(): one claim at a time */
    :: atomic {
            well(n) && node[n].current > 0 && node[n].lease && n <= touched && !any_claim_of(claiming, n) &&
            (claimable(0) || (claimable(1) && (begun || LANES == 1))) ->
            if
            :: claimable(0) -> begun = 1
            :: claimable(1) && (begun || LANES == 1) -> r = 1
            fi;
            c = r * CLAIMS / RUNS;
            do
            :: claim[c].step != FREE -> c++; assert(c < CLAIMS && which(c) == r) /* a bound is too small */
            :: else -> break
            od;
            printf("node %d: claims run %d, claim %d\n", n, r, c);
            if
            :: touched == n -> touched++
            :: else
            fi;
            claim[c].node = n;
            claim[c].incarnation = current(n);
            claim[c].waits = 1;
            if
            :: execute(c);
                if
                :: claim[c].step == ANSWERED -> take_answer(c, d)
                :: else
                fi
            :: late > 0 -> late--;
                if
                :: laned(c) -> claim[c].step = PICKED
                :: else -> claim[c].step = SENT
                fi
            fi;
            c = 0;
            r = 0
        }

    /* node_heartbeat.sql; where it would change nothing it is left out */
    :: atomic {
            connected(n) && !node[n].renewed && !incarnation[current(n)].row -> declared_dead(n, c)
        }
    :: atomic {
            connected(n) && !node[n].renewed && incarnation[current(n)].row &&
            (!incarnation[current(n)].lease || !node[n].lease) ->
            printf("node %d: renews\n", n);
            incarnation[current(n)].lease = 1;
            if
            :: node[n].lease = 1
            :: late > 0 -> late--; node[n].renewed = 1
            fi
        }

    /* renewed(): the lease counts from the sending, so it may be over with the row's by now */
    :: atomic {
            node[n].renewed && well(n) ->
            node[n].renewed = 0;
#ifdef WITHOUT_LEASE_FROM_SENDING
            node[n].lease = 1
#else
            if
            :: incarnation[current(n)].lease -> node[n].lease = 1
            :: else
            fi
#endif
        }

    /* relock() and the heartbeat after it, on a new session */
    :: atomic {
            well(n) && node[n].current > 0 && !node[n].renewed && !incarnation[current(n)].lock ->
            if
            :: incarnation[current(n)].row ->
                printf("node %d: has a session again, renews\n", n);
                incarnation[current(n)].lock = 1;
                incarnation[current(n)].waits = 0;
                incarnation[current(n)].lease = 1;
                node[n].lease = 1;
                node[n].shorter = 0
            :: else -> declared_dead(n, c)
            fi
        }

    /* its work connection times out while it is cut off */
    :: atomic {
            node[n].cut && node[n].state == UP && (any_claim_of(claiming, n) || any_claim_of(writing, n)) ->
            lose_work(n, c)
        }

#ifndef WITHOUT_GUARD
    /* guard_check_lease(), whatever its coordinator does; on_result() then */
    :: atomic {
            node[n].lease && node[n].state != CRASHED && !connected(n) &&
            (any_claim_of(of_lane, n) || node[n].shorter || incarnation[current(n)].waits) ->
            printf("node %d: its lease ends, its guard kills\n", n);
            node[n].lease = 0;
            node[n].shorter = 0;
            do
            :: c < CLAIMS ->
                if
                :: of_lane(c, n) && claim[c].step == RUNNING -> claim[c].step = BACK
                :: of_lane(c, n) && claim[c].step == RUNNING -> claim[c].step = OVER
                :: of_lane(c, n) && claim[c].step == VOID -> claim[c].step = UNKNOWN; tidy(c)
                :: !(of_lane(c, n) && executes(c))
                fi;
                c++
            :: else -> break
            od;
            c = 0
        }
#else
    :: atomic { node[n].lease && node[n].state != CRASHED && !connected(n) -> node[n].lease = 0 }
#endif

    /* guard_end(): its coordinator is gone */
    :: atomic {
            node[n].state == CRASHED && node[n].lease ->
            printf("node %d: its guard ends all\n", n);
            node[n].lease = 0;
            node[n].shorter = 0;
            do
            :: c < CLAIMS ->
                if
                :: claim[c].node == n && claim[c].step == VOID -> claim[c].step = UNKNOWN; tidy(c)
                :: else
                fi;
                c++
            :: else -> break
            od;
            c = 0
        }
    od
}

/* What the server and others do about an incarnation. */
#define owner (i / INCARNATIONS)
proctype Row(byte i)
{
    byte c;
end:
    do
    /* lease_until passes; without runs of lanes nobody asks */
    :: atomic {
            incarnation[i].lease && (any_claim_of(lane_receipt_of, i) || incarnation[i].waits) &&
            (!node[owner].lease || (node[owner].current > 0 && current(owner) != i) ||
             (node[owner].shorter && !connected(owner))) ->
            printf("incarnation %d of node %d: the lease of its row is over\n", i % INCARNATIONS + 1, owner);
            incarnation[i].lease = 0
        }

    /* idle_session_timeout, tcp_user_timeout */
    :: atomic {
            incarnation[i].lock && (!well(owner) || current(owner) != i) ->
            printf("incarnation %d of node %d: the server ends its session\n", i % INCARNATIONS + 1, owner);
            incarnation[i].lock = 0
        }

    /* recover_look(), node_terminate.sql */
    :: atomic {
            incarnation[i].row && !incarnation[i].lock && !incarnation[i].ended && any_node_of(judges, i) &&
            (!incarnation[i].waits || !incarnation[i].lease) ->
            printf("incarnation %d of node %d: is dead\n", i % INCARNATIONS + 1, owner);
            incarnation[i].ended = 1;
            end_connections(i, c)
        }

    /* rota.recover(): plain runs now, those of lanes after the lease */
    :: atomic {
            incarnation[i].ended && any_node_of(sees, i) ->
            printf("incarnation %d of node %d: is recovered\n", i % INCARNATIONS + 1, owner);
            incarnation[i].ended = 0;
            do
            :: c < CLAIMS ->
                if
                :: takes(c, i) ->
                    claim[c].receipt = 0;
                    release(c);
                    if
                    :: pending[which(c)] = 1;
                        if
                        :: laned(c)
                        :: else -> allowed[which(c)]++
                        fi
                    :: history[which(c)]++ /* requests_recovery is false: over, as unknown */
                    fi;
                    moved(which(c));
                    tidy(c)
                :: else
                fi;
                c++
            :: else -> break
            od;
            c = 0;
            if
            :: !any_claim_of(receipt_of, i) ->
                incarnation[i].row = 0;
                incarnation[i].lease = 0;
                incarnation[i].waits = 0
            :: else -> incarnation[i].waits = 1
            fi
        }
    od
}

inline crash(n, c)
{
    node[n].state = CRASHED;
    node[n].renewed = 0;
    if /* its kernel closes the sockets, if that gets through */
    :: !node[n].cut -> incarnation[current(n)].lock = 0
    :: else
    fi;
    node[n].current = 0;
    lose_work(n, c);
    do
    :: c < CLAIMS ->
        if
        :: claim[c].step != FREE && claim[c].node == n ->
            if
            :: claim[c].step == RUNNING && laned(c) -> claim[c].step = VOID
            :: (claim[c].step == RUNNING && !laned(c)) || claim[c].step >= BACK -> claim[c].step = UNKNOWN
            :: else
            fi;
            tidy(c)
        :: else
        fi;
        c++
    :: else -> break
    od;
    c = 0
}

inline start(n)
{
    printf("node %d: is started again\n", n);
    node[n].state = UP;
#ifdef WITHOUT_DELAY_OF_THE_YOUNG
    node[n].young = 1;
#endif
    register(n)
}

inline restart_database(i, c)
{
    do
    :: i < NODES * INCARNATIONS ->
        incarnation[i].lock = 0;
        incarnation[i].ended = 0;
        end_connections(i, c);
        i++
    :: else -> break
    od;
    i = 0;
    do
    :: i < NODES ->
        if
        :: node[i].state != CRASHED -> node[i].shorter = 1
        :: else
        fi;
#ifdef WITHOUT_DELAY_OF_THE_YOUNG
        node[i].young = 0;
#endif
        i++
    :: else -> break
    od;
    i = 0
}

proctype Fate()
{
    byte n, c, i;
end:
    do
    :: atomic {
            faults > 0 && unfinished ->
            if
            :: n = 0
            :: touched >= 1 -> n = 1
            :: touched >= 2 -> n = 2
            fi;
            if
            :: touched == n -> touched++
            :: else
            fi;
            faults--;
            if
            :: node[n].state != CRASHED -> printf("node %d: crashes\n", n); crash(n, c)
            :: node[n].state == UP -> printf("node %d: is stopped\n", n); node[n].state = STOPPED
            :: !node[n].cut && node[n].state != CRASHED -> printf("node %d: is cut off\n", n); node[n].cut = 1
            :: connected(n) -> printf("node %d: loses its session\n", n); incarnation[current(n)].lock = 0
            :: well(n) -> printf("node %d: loses its work connection\n", n); lose_work(n, c)
            :: else /* all has happened to it */
            fi;
            n = 0
        }
    :: atomic { faults > 0 && unfinished -> printf("the database restarts\n"); faults--; restart_database(i, c) }

    :: atomic { !quiet && node[0].cut -> printf("node 0: is cut off no more\n"); node[0].cut = 0 }
    :: atomic { !quiet && node[1].cut -> printf("node 1: is cut off no more\n"); node[1].cut = 0 }
    :: atomic { !quiet && node[2].cut -> printf("node 2: is cut off no more\n"); node[2].cut = 0 }
    :: atomic { !quiet && node[0].state == STOPPED -> printf("node 0: goes on\n"); node[0].state = UP }
    :: atomic { !quiet && node[1].state == STOPPED -> printf("node 1: goes on\n"); node[1].state = UP }
    :: atomic { !quiet && node[2].state == STOPPED -> printf("node 2: goes on\n"); node[2].state = UP }
    :: atomic { !quiet && node[0].state == CRASHED && !node[0].lease && !node[0].cut -> start(0) }
    :: atomic { !quiet && node[1].state == CRASHED && !node[1].lease && !node[1].cut -> start(1) }
    :: atomic { !quiet && node[2].state == CRASHED && !node[2].lease && !node[2].cut -> start(2) }
    :: atomic { !quiet -> quiet = 1; faults = 0; late = 0 }

    :: atomic {
            timeout ->
            printf("nothing moves any more\n");
            assert((history[0] == 1 && history[1] == 1) || (!well(0) && !well(1) && !well(2))); /* stuck */
            break
        }
    od
}

init {
    byte n;
    atomic {
        pending[0] = 1;
        pending[1] = 1;
        do
        :: n < NODES -> register(n); n++
        :: else -> break
        od;
        n = 0;
        do
        :: n < CLAIMS -> run Attempt(n); n++
        :: else -> break
        od;
        n = 0;
        do
        :: n < NODES -> run Coordinator(n); n++
        :: else -> break
        od;
        n = 0;
        run Fate()
    }
}
