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
#include <ap_regex.h>
#include <apr_strings.h>
#include <apr_fnmatch.h>
#include <apr_tables.h>
#include <http_config.h>
#include <http_core.h>
#include <http_log.h>
#include <http_protocol.h>
#include <util_cfgtree.h>
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

/* The document root of this request where a module has set another than the server's, as long as the request; else NULL. */
const char *plua_document_root(request_rec *r);

/* Whether AddDefaultCharset says what charset text has here, be it none; and that httpd adds none whatever that says. */
int plua_has_default_charset(const request_rec *r);

/* Whether the client asks by https: by TLS of this server's, or as ServerName says for one that stands before it. */
int plua_is_secure(const request_rec *r);
void plua_suppress_charset(request_rec *r);

/* Reads the next of the request's body, at most *length bytes, and sets *length to how many; 0 is its end. Waits for the
 * client, and asks it to go on if it waits for that (Expect: 100-continue). OK, or the status that answers what is
 * wrong: 413 over LimitRequestBody, 408 for a silent client, 400 for one that left or a broken transfer coding. */
int plua_read_body(request_rec *r, char *into, apr_size_t *length);

/* Passes a piece of the response to httpd's filters. They have copied or sent `bytes` when this returns.
 * APR_SUCCESS, APR_ECONNABORTED once the client is gone, or what the filters say. */
apr_status_t plua_pass(request_rec *r, const char *bytes, apr_size_t length, plua_tail tail);

/* Passes a file of that size as all of the response's body, and ends it: with a length, and ranges of it where the client
 * asks for them. Closes a descriptor of its own with the request. As plua_pass says otherwise. */
apr_status_t plua_pass_file(request_rec *r, int descriptor, apr_off_t size);

/* The tag of a file, as FileETag wants it; empty when it wants none. In the request's pool. */
const char *plua_tag_of(request_rec *r, const char *path, apr_off_t size, apr_time_t modified, apr_ino_t inode);

/* What the conditions of a GET or HEAD request make of a response with this tag and date (texts, or NULL): 304, 412, or OK.
 * The lists of tags are those of the request unless they are given. */
int plua_condition(request_rec *r, const char *tag, const char *modified, const char *if_match,
                   const char *if_none_match);

/* Whether the client has closed its connection or its sending side, or reset its HTTP/2 stream. Waits for nothing. */
int plua_client_is_gone(request_rec *r);

/* Sends a head of 103 (RFC 8297) with this Link header before the response; `link` lives as long as the request. Whether it
 * was sent: not once the head of the response is out, and not to clients that do not know such heads. */
int plua_hint(request_rec *r, const char *link);

/* The client's socket, or -1 for a stream of HTTP/2. */
int plua_client_descriptor(request_rec *r);

/* Ends a response that began so that the client can tell it is not whole, with its connection, and that no cache keeps it.
 * Does nothing once PLUA_END was passed. 0 when the client has nothing of it: then an error takes its place. */
int plua_break_off(request_rec *r);

/* The connection that mod_dbd keeps for this request, as apr_dbd's driver and handle; both live as long as the request.
 * 1, or 0 when mod_dbd is not loaded, or -1 when it has none (it has logged why). */
int plua_database(request_rec *r, const void **driver, void **handle);

/* Requests that wait without a thread (plua_parking.c). Whether the page of r may give its thread up now; that it does, until the
 * descriptor is readable, which is to stay open until then: plua_rs_serve or plua_rs_go_on returns SUSPENDED next. And how long
 * httpd lets a connection wait. */
int plua_can_park(request_rec *r);
void plua_set_waiting(request_rec *r, void *page);
void *plua_waiting(request_rec *r);
void plua_park(request_rec *r, int descriptor);
apr_interval_time_t plua_parking_time(request_rec *r);
void plua_parking_child_init(void);
void plua_parking_register_hooks(void);

/* Kept pages (plua_kept.c). What tells the filters of the response to r from others; 0 for such as make a response of their own
 * for each request. */
apr_uint64_t plua_filters(request_rec *r);

/* Puts the filters of the response in, for a quick handler: whether they are those. Else none is put in. */
int plua_insert_filters(request_rec *r, apr_uint64_t expected);

/* Passes bytes that live as long as the request as the whole body. */
apr_status_t plua_pass_kept(request_rec *r, const char *bytes, apr_size_t length);

/* That no page is kept for r, as the quick handler has found, and whether it has. */
void plua_set_missing(request_rec *r);
int plua_is_missing(const request_rec *r);

void plua_kept_register_hooks(void);

/* Public pages (plua_public.c). Whether everybody gets what r asks for, whoever asks, and nothing that holds for its place but not
 * for the whole server changes the response. Asked by the handler, when httpd has let the request in. */
int plua_is_public(request_rec *r);

/* Whether r was let in by a Require that asks for more than `all granted`, or has a user. */
int plua_was_asked(const request_rec *r);

/* Looks what can be told of who lets requests in, when the configuration is read, and logs for `tells`, unless it is NULL, who may
 * do so in ways that are not looked at. */
void plua_look_at_configuration(apr_pool_t *temporary, const server_rec *tells);
void plua_public_register_hooks(void);
void plua_status_register_hooks(void);

/* What the entries begin with that C writes by itself; plua/src/error/entry.rs has all of them. */
#define PLUA_NOT_PLAIN "PL3006: "
#define PLUA_PATH_INFO "PL3007: "
#define PLUA_UNKNOWN_AUTHORITY "PL3104: "

/* One entry in the error log, with the request's client, or for the server. `level` is an APLOG_ level, and the line begins with
 * the entry's code. */
void plua_log_request(int level, const request_rec *r, const char *line, apr_size_t length);
void plua_log_server(int level, const server_rec *server, const char *line, apr_size_t length);

/* ---- Done in Rust (src/entry.rs), called from C ---- */

/* Runs the page r->filename and answers r: OK when the response is out, else the status httpd shall answer with.
 * `server` and `directory` are the records plua_module's create and merge functions made, and may be NULL. Of r,
 * nothing is kept once this returns, but for SUSPENDED: then the page waits, and r is kept until its pool is cleared. */
int plua_rs_serve(request_rec *r, void *server, void *directory);

/* Answers r with a page that is kept for everybody, before httpd maps it: OK, the status httpd shall answer with, or DECLINED.
 * `server` as above. */
int plua_rs_quick(request_rec *r, void *server);

/* Answers r with the status of the server, where SetHandler plua-status stands: OK, or the status httpd shall answer with. */
int plua_rs_status(request_rec *r, void *server);

/* What mod_status is to put on its page, or for is_short into its ?auto: text in r's pool, or NULL. */
const char *plua_rs_status_part(request_rec *r, void *server, int is_short);

/* Goes on with the page of r, which waits, in this thread: as plua_rs_serve. */
int plua_rs_go_on(request_rec *r);

/* The descriptor that the page of r waits for was closed by httpd, which ends the connection. */
void plua_rs_lost(request_rec *r);

/* Whether the file r->filename is neither to be run, as the page it is, nor to be sent as it is: after it was logged why.
 * `directory` as below. */
int plua_rs_keeps_back(request_rec *r, void *directory, int is_page);

/* Looks at the configuration of every server: OK, or an error that stops httpd after it was logged. The first of two
 * readings warns of nothing. */
int plua_rs_check(apr_pool_t *temporary, server_rec *main_server, int is_first_reading);

/* Builds the engine of this process. It belongs to `child` and goes with it. */
void plua_rs_start_child(apr_pool_t *child, server_rec *main_server);

/* Stops the pages that run in this process, in whatever threads: httpd stops without waiting for them. From a thread that
 * runs none. */
void plua_rs_end_pages(server_rec *main_server);

#endif
