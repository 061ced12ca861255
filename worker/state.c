/* State machines as tables: see state.h. */
#include "worker/state.h"

#include <stdio.h>
#include <stdlib.h>

const struct state_move *state_move(const struct state_machine *machine, int from, int event)
{
    for (size_t i = 0; i < machine->move_count; i++)
        if (machine->moves[i].from == from && machine->moves[i].event == event)
            return &machine->moves[i];
    fprintf(stderr, "rota: bug: %s in state %s met %s\n", machine->name, machine->states[from],
            machine->events[event]);
    abort();
}
