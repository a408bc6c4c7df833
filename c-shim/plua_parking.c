/* Requests that wait without a thread, on the event MPM of httpd 2.4.63 and later.
 *
 * The connection never leaves the MPM: it waits for input there, but the descriptor in its socket is one of ours meanwhile, which
 * becomes readable when the page may go on. Then a thread of the MPM calls the connection's hook again, and that goes on with the
 * page. Nothing is read or written on the connection while it waits. */

#include "plua_shim.h"

#include <apr_portable.h>
#include <http_connection.h>
#include <http_request.h>
#include <mpm_common.h>
#include <scoreboard.h>
#include <unistd.h>

APLOG_USE_MODULE(plua);

/* Since 2.4.63 (20120211.137) a connection may wait for what a module asks. */
#ifdef AP_MPMQ_CAN_WAITIO

/* One connection of a client's. */
typedef struct {
    apr_socket_t *socket;  /* the one it began with; a module that replaces it keeps its pages in their threads */
    request_rec *waiting;  /* the request whose page waits, or NULL */
    int descriptor;        /* what that waits for */
    apr_os_sock_t client;  /* the client's descriptor while ours is in its place */
    int is_inside;         /* the hook of this connection runs */
    int has_waited;
    int is_swapped;
} plua_connection;

/* Whether this child's MPM lets connections wait so. */
static int plua_mpm_can_wait;

static plua_connection *plua_connection_of(conn_rec *c)
{
    return ap_get_module_config(c->conn_config, &plua_module);
}

static int plua_pre_connection(conn_rec *c, void *socket)
{
    plua_connection *connection;

    /* Streams of HTTP/2 have connections of their own, which no MPM knows. */
    if (plua_mpm_can_wait && !c->master && c->cs) {
        connection = apr_pcalloc(c->pool, sizeof *connection);
        connection->socket = socket;
        ap_set_module_config(c->conn_config, &plua_module, connection);
    }
    return OK;
}

/* A child that stops lets its listener go when no connection is counted, and a worker counts one only when it has taken it from
 * the queue: nobody would poll a connection that waits for the first time then. */
static int plua_listens(const plua_connection *connection)
{
    int state;

    return connection->has_waited || (ap_mpm_query(AP_MPMQ_MPM_STATE, &state) == APR_SUCCESS && state == AP_MPMQ_RUNNING);
}

int plua_can_park(request_rec *r)
{
    conn_rec *c = r->connection;
    plua_connection *connection = plua_connection_of(c);

    return connection && connection->is_inside && !connection->waiting && c->cs && !c->master
           && !c->clogging_input_filters && !r->main && !r->prev && ap_get_conn_socket(c) == connection->socket
           && plua_listens(connection);
}

void plua_park(request_rec *r, int descriptor)
{
    plua_connection *connection = plua_connection_of(r->connection);

    connection->waiting = r;
    connection->descriptor = descriptor;
}

apr_interval_time_t plua_parking_time(request_rec *r)
{
    apr_interval_time_t request = r->server->timeout, connection = r->connection->base_server->timeout;

    return request < connection ? request : connection;
}

/* The MPM is to poll the socket from now on. */
static void plua_wait(conn_rec *c)
{
    c->cs->state = CONN_STATE_ASYNC_WAITIO;
    c->cs->sense = CONN_SENSE_WANT_READ;
}

/* Goes on with the request that waits. */
static int plua_go_on(conn_rec *c, plua_connection *connection)
{
    request_rec *r = connection->waiting;
    int status;

    connection->waiting = NULL;
    connection->has_waited = 1;
    ap_update_child_status(c->sbh, SERVER_BUSY_WRITE, r);
    status = plua_rs_go_on(r);
    if (status == SUSPENDED) {
        plua_wait(c);
        return OK;
    }
    if (status != OK) {
        /* Or httpd would take it for the error of an error's page. */
        r->status = HTTP_OK;
    }
    ap_die(status, r);
    ap_process_request_after_handler(r);
    return OK;
}

static int plua_process_connection(conn_rec *c)
{
    plua_connection *connection = plua_connection_of(c);
    int status;

    if (!connection || connection->is_inside) {
        return DECLINED;
    }
    connection->is_inside = 1;
    status = connection->waiting ? plua_go_on(c, connection) : ap_run_process_connection(c);
    connection->is_inside = 0;
    if (status == OK && connection->waiting && c->cs->state == CONN_STATE_SUSPENDED) {
        plua_wait(c);
    }
    return status;
}

static void plua_suspend_connection(conn_rec *c, request_rec *r)
{
    plua_connection *connection = plua_connection_of(c);

    (void)r;
    if (connection && connection->waiting && c->cs->state == CONN_STATE_ASYNC_WAITIO
        && apr_os_sock_get(&connection->client, connection->socket) == APR_SUCCESS) {
        apr_os_sock_put(&connection->socket, &connection->descriptor, c->pool);
        connection->is_swapped = 1;
    }
}

static void plua_resume_connection(conn_rec *c, request_rec *r)
{
    plua_connection *connection = plua_connection_of(c);
    apr_os_sock_t descriptor = -1;

    (void)r;
    if (!connection || !connection->is_swapped) {
        return;
    }
    connection->is_swapped = 0;
    apr_os_sock_get(&descriptor, connection->socket);
    if (descriptor == -1) {
        /* The MPM has closed it, where it found no way to poll it. */
        plua_rs_lost(connection->waiting);
        close(connection->client);
        return;
    }
    apr_os_sock_put(&connection->socket, &connection->client, c->pool);
    if (c->cs->state == CONN_STATE_LINGER && c->sbh && connection->waiting) {
        /* The MPM ends the connection, as at its Timeout: the request is logged before it goes. */
        request_rec *waiting = connection->waiting;

        connection->waiting = NULL;
        waiting->status = HTTP_GATEWAY_TIME_OUT;
        c->keepalive = AP_CONN_CLOSE;
        ap_process_request_after_handler(waiting);
        c->cs->state = CONN_STATE_LINGER;
    }
}

void plua_parking_child_init(void)
{
    int is_async = 0, can_wait = 0;

    plua_mpm_can_wait = ap_mpm_query(AP_MPMQ_IS_ASYNC, &is_async) == APR_SUCCESS && is_async
                        && ap_mpm_query(AP_MPMQ_CAN_WAITIO, &can_wait) == APR_SUCCESS && can_wait;
}

void plua_parking_register_hooks(void)
{
    ap_hook_pre_connection(plua_pre_connection, NULL, NULL, APR_HOOK_MIDDLE);
    /* Before all others: it runs them. */
    ap_hook_process_connection(plua_process_connection, NULL, NULL, APR_HOOK_REALLY_FIRST - 10);
    ap_hook_suspend_connection(plua_suspend_connection, NULL, NULL, APR_HOOK_REALLY_LAST);
    ap_hook_resume_connection(plua_resume_connection, NULL, NULL, APR_HOOK_REALLY_FIRST);
}

#else

int plua_can_park(request_rec *r)
{
    (void)r;
    return 0;
}

void plua_park(request_rec *r, int descriptor)
{
    (void)r;
    (void)descriptor;
}

apr_interval_time_t plua_parking_time(request_rec *r)
{
    return r->server->timeout;
}

void plua_parking_child_init(void) {}
void plua_parking_register_hooks(void) {}

#endif
