/* mod_plua's hooks, and the parts of httpd that exist only as C macros. Decisions are made in Rust. */

/* For POLLRDHUP. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "plua_shim.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include <apr_buckets.h>
#include <apr_dbd.h>
#include <apr_optional.h>
#include <apr_portable.h>
#include <http_main.h>
#include <mod_dbd.h>
#include <mpm_common.h>
#include <util_filter.h>

/* The name AddHandler and SetHandler use; httpd has put theirs into lower case. */
#define PLUA_HANDLER "plua"

/* What names of pages end in. */
#define PLUA_EXTENSION ".plua"

APLOG_USE_MODULE(plua);

/* Whether httpd would send this file as it is, for no handler was chosen for it, though its name says that it may be a
 * page's source. In place of a handler httpd then gives the content type, or nothing. */
static int plua_may_be_source(const request_rec *r)
{
    return (!r->handler || !*r->handler || strchr(r->handler, '/')) && r->filename
           && ap_strcasestr(r->filename, PLUA_EXTENSION);
}

static int plua_handler(request_rec *r)
{
    int is_page = r->handler && strcmp(r->handler, PLUA_HANDLER) == 0;

    if ((!is_page && !plua_may_be_source(r)) || r->finfo.filetype == APR_NOFILE || r->finfo.filetype == APR_DIR) {
        return DECLINED; /* not ours, or httpd's own to refuse: a missing file, a directory */
    }
    if (plua_rs_keeps_back(r, ap_get_module_config(r->per_dir_config, &plua_module), is_page)) {
        return HTTP_FORBIDDEN;
    }
    if (!is_page) {
        return DECLINED;
    }
    if (r->finfo.filetype != APR_REG) {
        /* httpd's own handler would open a named pipe and hold its thread until somebody writes to it. */
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r, PLUA_NOT_PLAIN "%s: not a plain file", r->filename);
        return HTTP_FORBIDDEN;
    }
    if (r->method_number == M_INVALID) {
        /* Allow lists the names httpd knows among these bits, so all bits give it every method that would run. TRACE is
         * httpd's own, which adds it where it is enabled. */
        r->allowed_methods->method_mask = r->allowed = ~(AP_METHOD_BIT << M_INVALID | AP_METHOD_BIT << M_TRACE);
        return HTTP_METHOD_NOT_ALLOWED;
    }
    if (r->used_path_info == AP_REQ_REJECT_PATH_INFO && r->path_info && *r->path_info) {
        ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r,
                      PLUA_PATH_INFO "AcceptPathInfo Off refuses what follows the page: %s", r->path_info);
        return HTTP_NOT_FOUND;
    }
    return plua_rs_serve(r, ap_get_module_config(r->server->module_config, &plua_module),
                         ap_get_module_config(r->per_dir_config, &plua_module));
}

static int plua_post_config(apr_pool_t *config, apr_pool_t *log, apr_pool_t *temporary, server_rec *main_server)
{
    /* httpd reads its configuration twice when it starts, and says once what it says. */
    int is_first = ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_CREATE_PRE_CONFIG;

    (void)config;
    (void)log;
    plua_look_at_configuration(temporary, is_first ? NULL : main_server);
    return plua_rs_check(temporary, main_server, is_first);
}

static void plua_child_init(apr_pool_t *child, server_rec *main_server)
{
    plua_parking_child_init();
    plua_rs_start_child(child, main_server);
}

/* Since 2.4.49. Before that, pages run on until the parent process kills their child, after ten seconds. */
#if AP_MODULE_MAGIC_AT_LEAST(20120211, 110)
static void plua_child_stopping(apr_pool_t *child, int is_graceful)
{
    int is_threaded;

    (void)child;
    /* A process without threads stops in a signal's handler, in the middle of its page, and waits for nothing. */
    if (!is_graceful && ap_mpm_query(AP_MPMQ_IS_THREADED, &is_threaded) == APR_SUCCESS && is_threaded) {
        plua_rs_end_pages(ap_server_conf);
    }
}
#endif

/* For the methods a page allows, httpd puts those it knows itself into the error page's head. */
#define PLUA_ALLOW "PLUA_ALLOW"

static apr_status_t plua_set_allow(ap_filter_t *filter, apr_bucket_brigade *brigade)
{
    apr_table_setn(filter->r->headers_out, "Allow", filter->ctx);
    ap_remove_output_filter(filter);
    return ap_pass_brigade(filter->next, brigade);
}

/* Runs before httpd makes an error page and sets its Allow. */
static void plua_insert_error_filter(request_rec *r)
{
    const char *allow;

    if ((r->status == HTTP_METHOD_NOT_ALLOWED || r->status == HTTP_NOT_IMPLEMENTED) && r->handler
        && strcmp(r->handler, PLUA_HANDLER) == 0 && (allow = apr_table_get(r->err_headers_out, "Allow")) != NULL) {
        ap_add_output_filter(PLUA_ALLOW, (void *)allow, r, r->connection);
    }
}

void plua_register_hooks(apr_pool_t *pool)
{
    (void)pool;
    ap_register_output_filter(PLUA_ALLOW, plua_set_allow, NULL, AP_FTYPE_CONTENT_SET);
    ap_hook_insert_error_filter(plua_insert_error_filter, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_post_config(plua_post_config, NULL, NULL, APR_HOOK_MIDDLE);
    /* Before mod_dbd opens its connections: what SQLite takes is counted only if that begins before its first use. */
    ap_hook_child_init(plua_child_init, NULL, NULL, APR_HOOK_FIRST);
#if AP_MODULE_MAGIC_AT_LEAST(20120211, 110)
    ap_hook_child_stopping(plua_child_stopping, NULL, NULL, APR_HOOK_MIDDLE);
#endif
    ap_hook_handler(plua_handler, NULL, NULL, APR_HOOK_MIDDLE);
    plua_parking_register_hooks();
    plua_kept_register_hooks();
    plua_public_register_hooks();
    plua_status_register_hooks();
}

/* What a request needs between calls. A brigade's memory goes only with the request's pool, so a page that writes or
 * reads for hours must not make one for each piece. */
typedef struct {
    apr_bucket_brigade *out; /* NULL until something was passed */
    apr_bucket_brigade *in;  /* read from the client, not yet handed over */
    int in_ended;
    void *waiting; /* the page that waits without a thread, or NULL */
    int is_missing; /* no page is kept for it */
} plua_request;

static plua_request *plua_request_of(request_rec *r)
{
    plua_request *request = ap_get_module_config(r->request_config, &plua_module);

    if (!request) {
        request = apr_pcalloc(r->pool, sizeof *request);
        ap_set_module_config(r->request_config, &plua_module, request);
    }
    return request;
}

void plua_set_missing(request_rec *r)
{
    plua_request_of(r)->is_missing = 1;
}

int plua_is_missing(const request_rec *r)
{
    const plua_request *request = ap_get_module_config(r->request_config, &plua_module);

    return request && request->is_missing;
}

void plua_set_waiting(request_rec *r, void *page)
{
    plua_request_of(r)->waiting = page;
}

void *plua_waiting(request_rec *r)
{
    return plua_request_of(r)->waiting;
}

/* Stands in for the request's output filters while its body is read: httpd's input filter answers a body it refuses by
 * itself, with an error bucket, before the page could. Keeps the status instead. */
static apr_status_t plua_hear_refusal(ap_filter_t *filter, apr_bucket_brigade *brigade)
{
    apr_bucket *bucket;

    for (bucket = APR_BRIGADE_FIRST(brigade); bucket != APR_BRIGADE_SENTINEL(brigade);
         bucket = APR_BUCKET_NEXT(bucket)) {
        if (AP_BUCKET_IS_ERROR(bucket)) {
            *(int *)filter->ctx = ((ap_bucket_error *)bucket->data)->status;
        }
    }
    apr_brigade_cleanup(brigade);
    return AP_FILTER_ERROR;
}

static ap_filter_rec_t plua_refusal_record = {
    .name = "PLUA_REFUSAL", .filter_func.out_func = plua_hear_refusal, .ftype = AP_FTYPE_CONTENT_SET
};

static apr_status_t plua_get_brigade(request_rec *r, apr_bucket_brigade *in, apr_size_t wanted, int *refused)
{
    ap_filter_t hearing = { .frec = &plua_refusal_record, .ctx = refused, .r = r, .c = r->connection };
    ap_filter_t *output = r->output_filters;
    int eos_sent = r->eos_sent;
    apr_status_t status;

    r->output_filters = &hearing;
    status = ap_get_brigade(r->input_filters, in, AP_MODE_READBYTES, APR_BLOCK_READ, wanted);
    r->output_filters = output;
    r->eos_sent = eos_sent;
    return status;
}

const char *plua_document_root(request_rec *r)
{
    const core_server_config *server = ap_get_core_module_config(r->server->module_config);
    const char *root = ap_document_root(r);

    return root == server->ap_document_root || strcmp(root, server->ap_document_root) == 0 ? NULL : root;
}

int plua_has_default_charset(const request_rec *r)
{
    const core_dir_config *directory = ap_get_core_module_config(r->per_dir_config);

    return directory->add_default_charset != ADD_DEFAULT_CHARSET_UNSET;
}

int plua_is_secure(const request_rec *r)
{
    return strcmp(ap_http_scheme(r), "https") == 0;
}

void plua_suppress_charset(request_rec *r)
{
    core_request_config *request = ap_get_core_module_config(r->request_config);

    request->suppress_charset = 1;
}

int plua_read_body(request_rec *r, char *into, apr_size_t *length)
{
    plua_request *request = plua_request_of(r);
    apr_size_t wanted = *length;

    *length = 0;
    if (r->main) {
        return OK; /* the body is the main request's */
    }
    if (!request->in) {
        request->in = apr_brigade_create(r->pool, r->connection->bucket_alloc);
    }
    while (!request->in_ended && !*length) {
        apr_status_t status = APR_SUCCESS;
        apr_bucket *bucket;
        int refused = HTTP_BAD_REQUEST;

        if (APR_BRIGADE_EMPTY(request->in)) {
            status = plua_get_brigade(r, request->in, wanted, &refused);
            if (status == APR_SUCCESS && APR_BRIGADE_EMPTY(request->in)) {
                status = APR_EOF;
            }
        }
        if (status == APR_SUCCESS) {
            bucket = APR_BRIGADE_FIRST(request->in);
            if (APR_BUCKET_IS_EOS(bucket)) {
                request->in_ended = 1;
            }
            else if (!APR_BUCKET_IS_METADATA(bucket)) {
                const char *bytes;
                apr_size_t available;

                status = apr_bucket_read(bucket, &bytes, &available, APR_BLOCK_READ);
                if (status == APR_SUCCESS) {
                    if (available > wanted) {
                        apr_bucket_split(bucket, wanted);
                        available = wanted;
                    }
                    memcpy(into, bytes, available);
                    *length = available;
                }
            }
            apr_bucket_delete(bucket);
        }
        if (status != APR_SUCCESS) {
            /* What is left of the body cannot be told from a next request. */
            r->connection->keepalive = AP_CONN_CLOSE;
            request->in_ended = 1;
            return status == AP_FILTER_ERROR ? refused : ap_map_http_request_error(status, refused);
        }
    }
    return OK;
}

static apr_bucket_brigade *plua_brigade(request_rec *r)
{
    plua_request *request = plua_request_of(r);

    if (!request->out) {
        request->out = apr_brigade_create(r->pool, r->connection->bucket_alloc);
    }
    return request->out;
}

static apr_status_t plua_pass_brigade(request_rec *r, apr_bucket_brigade *brigade)
{
    apr_status_t status = ap_pass_brigade(r->output_filters, brigade);

    apr_brigade_cleanup(brigade);
    return r->connection->aborted ? APR_ECONNABORTED : status;
}

apr_status_t plua_pass(request_rec *r, const char *bytes, apr_size_t length, plua_tail tail)
{
    apr_bucket_alloc_t *buckets = r->connection->bucket_alloc;
    apr_bucket_brigade *brigade;

    if (r->connection->aborted) {
        return APR_ECONNABORTED;
    }
    brigade = plua_brigade(r);
    if (length) {
        /* Transient: a filter that keeps it beyond this call copies it first. */
        APR_BRIGADE_INSERT_TAIL(brigade, apr_bucket_transient_create(bytes, length, buckets));
    }
    if (tail == PLUA_FLUSH) {
        APR_BRIGADE_INSERT_TAIL(brigade, apr_bucket_flush_create(buckets));
    }
    else if (tail == PLUA_END) {
        APR_BRIGADE_INSERT_TAIL(brigade, apr_bucket_eos_create(buckets));
    }
    return plua_pass_brigade(r, brigade);
}

/* Whether the client has the head of the response, or will have it: filters may hold back all of a page. */
static int plua_head_is_out(const request_rec *r)
{
    if (r->header_only || AP_STATUS_IS_HEADER_ONLY(r->status)) {
        /* Nothing follows such a head, and httpd notes its sending only here. */
        return r->sent_bodyct || r->connection->keepalive != AP_CONN_UNKNOWN;
    }
    return r->sent_bodyct != 0;
}

apr_status_t plua_pass_file(request_rec *r, int descriptor, apr_off_t size)
{
    const core_dir_config *directory = ap_get_core_module_config(r->per_dir_config);
    apr_int32_t sendfile = directory->enable_sendfile == ENABLE_SENDFILE_ON ? APR_FOPEN_SENDFILE_ENABLED : 0;
    apr_bucket_brigade *brigade;
    apr_file_t *lent, *own;
    apr_os_file_t system = descriptor;
    apr_status_t status;

    if (r->connection->aborted) {
        return APR_ECONNABORTED;
    }
    status = apr_os_file_put(&lent, &system, APR_FOPEN_READ | sendfile, r->pool);
    if (status == APR_SUCCESS) {
        /* APR closes files that it has made itself. */
        status = apr_file_dup(&own, lent, r->pool);
    }
    if (status != APR_SUCCESS) {
        return status;
    }
    ap_set_accept_ranges(r);
    brigade = plua_brigade(r);
    /* Not mapped: who writes to the file meanwhile would end the process. */
    apr_bucket_file_enable_mmap(apr_brigade_insert_file(brigade, own, 0, size, r->pool), 0);
    APR_BRIGADE_INSERT_TAIL(brigade, apr_bucket_eos_create(r->connection->bucket_alloc));
    return plua_pass_brigade(r, brigade);
}

const char *plua_tag_of(request_rec *r, const char *path, apr_off_t size, apr_time_t modified, apr_ino_t inode)
{
    const apr_finfo_t facts = r->finfo;
    char *name = r->filename;
    const char *tag;

    /* httpd makes the tag of the request's own file. */
    r->filename = (char *)path;
    r->finfo.filetype = APR_REG;
    r->finfo.size = size;
    r->finfo.mtime = modified;
    r->finfo.inode = inode;
    tag = ap_make_etag(r, 0);
    r->filename = name;
    r->finfo = facts;
    return tag;
}

int plua_condition(request_rec *r, const char *tag, const char *modified, const char *if_match,
                   const char *if_none_match)
{
    apr_table_t *in = r->headers_in, *out = r->headers_out;
    int status;

    /* Another method has done its work already, and a part of a page is not the client's to ask about. */
    if (r->method_number != M_GET || r->main) {
        return OK;
    }
    r->headers_out = apr_table_make(r->pool, 2);
    if (tag) {
        apr_table_setn(r->headers_out, "ETag", tag);
    }
    if (modified) {
        apr_table_setn(r->headers_out, "Last-Modified", modified);
    }
    if (if_match || if_none_match) {
        r->headers_in = apr_table_copy(r->pool, in);
    }
    if (if_match) {
        apr_table_setn(r->headers_in, "If-Match", if_match);
    }
    if (if_none_match) {
        apr_table_setn(r->headers_in, "If-None-Match", if_none_match);
    }
    status = ap_meets_conditions(r);
    r->headers_in = in;
    r->headers_out = out;
    return status;
}

/* The socket of a connection, or -1. */
static int plua_descriptor(conn_rec *c)
{
    apr_socket_t *socket = ap_get_conn_socket(c);
    apr_os_sock_t descriptor;

    return socket && apr_os_sock_get(&descriptor, socket) == APR_SUCCESS ? descriptor : -1;
}

int plua_hint(request_rec *r, const char *link)
{
    apr_table_t *headers = r->headers_out;
    const char *line = r->status_line;
    int status = r->status;

    /* A part of a page has no head of its own, and clients of HTTP/1.0 know no head before the last one. */
    if (r->main || r->proto_num < HTTP_VERSION(1, 1) || plua_head_is_out(r)) {
        return 0;
    }
    r->headers_out = apr_table_make(r->pool, 1);
    apr_table_setn(r->headers_out, "Link", link);
    r->status = 103;
    r->status_line = "103 Early Hints";
    ap_send_interim_response(r, 1);
    r->headers_out = headers;
    r->status = status;
    r->status_line = line;
    return 1;
}

int plua_client_descriptor(request_rec *r)
{
    return r->connection->master ? -1 : plua_descriptor(r->connection);
}

int plua_client_is_gone(request_rec *r)
{
    conn_rec *c = r->connection;
    struct pollfd client = { .events = POLLRDHUP };

    if (c->aborted || (c->master && c->master->aborted)) {
        return 1;
    }
    if (c->master) {
        return 0; /* mod_http2 reads the connection, and tells of its streams */
    }
    client.fd = plua_descriptor(c);
    return client.fd >= 0 && poll(&client, 1, 0) > 0 && (client.revents & (POLLRDHUP | POLLERR | POLLHUP)) != 0;
}

static apr_status_t plua_drop(ap_filter_t *filter, apr_bucket_brigade *brigade)
{
    (void)filter;
    apr_brigade_cleanup(brigade);
    return APR_SUCCESS;
}

static ap_filter_rec_t plua_drop_record = {
    .name = "PLUA_DROP", .filter_func.out_func = plua_drop, .ftype = AP_FTYPE_CONTENT_SET
};

/* Ends what the filters of the content hold, and sends nothing of it. Some that hold it keep it beyond the request's
 * filters, and would put it before the error page. */
static void plua_drop_held(request_rec *r, apr_bucket_brigade *brigade)
{
    ap_filter_t *last = r->output_filters;
    ap_filter_t *drop = apr_pcalloc(r->pool, sizeof *drop);

    if (last == r->proto_output_filters) {
        return;
    }
    while (last->next != r->proto_output_filters) {
        last = last->next;
    }
    *drop = (ap_filter_t){ .frec = &plua_drop_record, .r = r, .c = r->connection };
    last->next = drop;
    APR_BRIGADE_INSERT_TAIL(brigade, apr_bucket_eos_create(r->connection->bucket_alloc));
    plua_pass_brigade(r, brigade);
    r->output_filters = r->proto_output_filters;
    r->eos_sent = 0;
}

/* Makes the end of this connection one that no client takes for the end of a body: a reset. Nothing more is sent. */
static void plua_reset_connection(conn_rec *c)
{
    struct linger at_once = { .l_onoff = 1, .l_linger = 0 };

    setsockopt(plua_descriptor(c), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    c->aborted = 1;
}

int plua_break_off(request_rec *r)
{
    conn_rec *c = r->connection;
    apr_bucket_brigade *brigade = plua_request_of(r)->out;
    request_rec *around;

    if (!brigade) {
        return 0;
    }
    /* What a cache has taken so far it must not keep, also as a part of the page around this one. */
    for (around = r; around; around = around->main) {
        request_rec *same;

        for (same = around; same; same = same->prev) {
            same->no_cache = 1;
        }
    }
    if (r->eos_sent || c->aborted) {
        return 1;
    }
    if (r->main) {
        return 0; /* mod_include tells of a part that failed */
    }
    if (!plua_head_is_out(r)) {
        plua_drop_held(r, brigade);
        return 0;
    }
    c->keepalive = AP_CONN_CLOSE;
    /* Filters of the content do not see what follows: some drop it and end the body as if it were whole. */
    r->output_filters = r->proto_output_filters;
    if (!c->master && !r->header_only && !r->chunked && !apr_table_get(r->headers_out, "Content-Length")) {
        /* Only the end of the connection ends this body. */
        plua_pass(r, NULL, 0, PLUA_FLUSH);
        plua_reset_connection(c);
    }
    /* The chunk filter leaves out the last chunk, and mod_http2 resets the stream, for this status only: a broken gateway. */
    APR_BRIGADE_INSERT_TAIL(brigade, ap_bucket_error_create(HTTP_BAD_GATEWAY, NULL, r->pool, c->bucket_alloc));
    APR_BRIGADE_INSERT_TAIL(brigade, apr_bucket_eos_create(c->bucket_alloc));
    plua_pass_brigade(r, brigade);
    return 1;
}

int plua_database(request_rec *r, const void **driver, void **handle)
{
    /* Looked up at run time: mod_dbd need not be there, and may be loaded after us. */
    APR_OPTIONAL_FN_TYPE(ap_dbd_acquire) *acquire = APR_RETRIEVE_OPTIONAL_FN(ap_dbd_acquire);
    ap_dbd_t *connection;

    if (!acquire) {
        return 0;
    }
    connection = acquire(r);
    if (!connection) {
        return -1;
    }
    *driver = connection->driver;
    *handle = connection->handle;
    return 1;
}

void plua_log_request(int level, const request_rec *r, const char *line, apr_size_t length)
{
    ap_log_rerror(APLOG_MARK, level, 0, r, "%.*s", (int)length, line);
}

void plua_log_server(int level, const server_rec *server, const char *line, apr_size_t length)
{
    ap_log_error(APLOG_MARK, level, 0, server, "%.*s", (int)length, line);
}
