/* State machines as tables: see machine.h. */
#include "base/machine.h"

#include <stdio.h>
#include <stdlib.h>

const struct machine_row *machine_find(const struct machine *machine, int from, int event)
{
    for (size_t i = 0; i < machine->row_count; i++)
        if (machine->rows[i].from == from && machine->rows[i].event == event)
            return &machine->rows[i];
    return NULL;
}

const struct machine_row *machine_move(const struct machine *machine, int from, int event)
{
    const struct machine_row *row = machine_find(machine, from, event);
    if (row == NULL) {
        fprintf(stderr, "rota: bug: %s in state %s got %s\n", machine->name, machine->states[from],
                machine->events[event]);
        abort();
    }
    return row;
}
