/* The tables of state machines: every state can be reached, every row is said once, nothing leaves
 * the end. */
#include "coord/lifecycle.h"
#include "store/connection.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

static bool reachable(const struct machine *machine, int from, int to)
{
    bool seen[32] = {false};
    seen[from] = true;
    for (size_t round = 0; round < machine->row_count; round++)
        for (size_t i = 0; i < machine->row_count; i++)
            if (seen[machine->rows[i].from])
                seen[machine->rows[i].to] = true;
    return seen[to];
}

static void check_table(const struct machine *machine, int first, int last_state)
{
    for (int state = 0; state <= last_state; state++)
        assert_true(reachable(machine, first, state));
    for (size_t i = 0; i < machine->row_count; i++) {
        assert_true(strlen(machine->rows[i].why) > 5);
        for (size_t j = i + 1; j < machine->row_count; j++)
            assert_false(machine->rows[i].from == machine->rows[j].from &&
                         machine->rows[i].event == machine->rows[j].event);
    }
}

static void every_state_of_a_node_is_reached_and_stopped_is_the_end(void **state)
{
    (void)state;
    check_table(&node_machine, NODE_UNINITIALISED, NODE_STOPPED);
    for (size_t i = 0; i < node_machine.row_count; i++)
        assert_int_not_equal(node_machine.rows[i].from, NODE_STOPPED);
    for (int from = NODE_UNINITIALISED; from < NODE_STOPPED;
         from++) /* SIGTERM is understood everywhere */
        assert_non_null(machine_find(&node_machine, from, NODE_STOP));
}

static void a_connection_comes_back_from_every_state(void **state)
{
    (void)state;
    check_table(&store_machine, STORE_DOWN, STORE_BACKOFF);
    for (int from = STORE_DOWN; from <= STORE_BACKOFF; from++)
        assert_true(reachable(&store_machine, from, STORE_READY));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_state_of_a_node_is_reached_and_stopped_is_the_end),
        cmocka_unit_test(a_connection_comes_back_from_every_state),
    };
    return cmocka_run_group_tests_name("state machines", tests, NULL, NULL);
}
