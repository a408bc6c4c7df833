/* The contract between httpd, seen from C, and mod_plua's Rust: everything that crosses is named here.
 *
 * Memory.  Text crosses as pointer and length. The one who calls owns what it passes; the one who is called keeps no
 *          pointer once it has returned, unless a line below says so. What must live longer is copied into a pool.
 * Threads. Configuration, plua_rs_check and plua_rs_start_child run while the process has one thread. All other calls
 *          come from the thread that owns the request; several requests run at once.
 * Panics.  None leaves a plua_rs_ function. */
#ifndef PLUA_SHIM_H
#define PLUA_SHIM_H

#include <httpd.h>
#include <ap_mmn.h>
#include <apr_strings.h>
#include <apr_tables.h>
#include <http_config.h>
#include <http_core.h>
#include <http_log.h>
#include <http_protocol.h>
#include <util_script.h>

/* The module record, built in Rust (src/lib.rs): a record made in C would not be exported from a Rust library. */
extern module AP_MODULE_DECLARE_DATA plua_module;

/* What follows the bytes of plua_pass. */
typedef enum {
    PLUA_MORE,  /* more of the body */
    PLUA_FLUSH, /* a request to push everything out now */
    PLUA_END    /* the end of the response */
} plua_tail;

/* ---- Done in C (plua_shim.c), called from Rust ---- */

/* Registers every hook; the record's register_hooks. */
void plua_register_hooks(apr_pool_t *pool);

/* Reads the next of the request's body, at most *length bytes, and sets *length to how many; 0 is its end. Waits for the
 * client, and asks it to go on if it waits for that (Expect: 100-continue). OK, or the status that answers what is
 * wrong: 413 over LimitRequestBody, 408 for a silent client, 400 for one that left or a broken transfer coding. */
int plua_read_body(request_rec *r, char *into, apr_size_t *length);

/* Passes a piece of the response to httpd's filters. They have copied or sent `bytes` when this returns.
 * APR_SUCCESS, APR_ECONNABORTED once the client is gone, or what the filters say. */
apr_status_t plua_pass(request_rec *r, const char *bytes, apr_size_t length, plua_tail tail);

/* Ends a response that began so that the client can tell it is not whole, and with it the connection. Does nothing
 * once PLUA_END was passed. 0 when nothing was ever passed: then the request can still be answered otherwise. */
int plua_break_off(request_rec *r);

/* The connection that mod_dbd keeps for this request, as apr_dbd's driver and handle; both live as long as the request.
 * 1, or 0 when mod_dbd is not loaded, or -1 when it has none (it has logged why). */
int plua_database(request_rec *r, const void **driver, void **handle);

/* One entry in the error log, with the request's client, or for the server. `level` is an APLOG_ level. */
void plua_log_request(int level, const request_rec *r, const char *line, apr_size_t length);
void plua_log_server(int level, const server_rec *server, const char *line, apr_size_t length);

/* ---- Done in Rust (src/entry.rs), called from C ---- */

/* Runs the page r->filename and answers r: OK when the response is out, else the status httpd shall answer with.
 * `server` and `directory` are the records plua_module's create and merge functions made, and may be NULL. Of r,
 * nothing is kept once this returns. */
int plua_rs_serve(request_rec *r, void *server, void *directory);

/* Looks at the settings of every server: OK, or an error that stops httpd after it was logged. */
int plua_rs_check(server_rec *main_server);

/* Builds the engine of this process. It belongs to `child` and goes with it. */
void plua_rs_start_child(apr_pool_t *child, server_rec *main_server);

#endif
