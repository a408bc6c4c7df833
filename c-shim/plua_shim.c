/* mod_plua's hooks, and the parts of httpd that exist only as C macros. Decisions are made in Rust. */

#include "plua_shim.h"

#include <string.h>

#include <apr_buckets.h>
#include <apr_dbd.h>
#include <apr_optional.h>
#include <mod_dbd.h>
#include <util_filter.h>

/* The name AddHandler and SetHandler use; httpd has put theirs into lower case. */
#define PLUA_HANDLER "plua"

APLOG_USE_MODULE(plua);

static int plua_handler(request_rec *r)
{
    if (!r->handler || strcmp(r->handler, PLUA_HANDLER) != 0 || r->finfo.filetype == APR_NOFILE
        || r->finfo.filetype == APR_DIR) {
        return DECLINED; /* not ours, or httpd's own to refuse: a missing file, a directory */
    }
    if (r->finfo.filetype != APR_REG) {
        /* httpd's own handler would open a named pipe and hold its thread until somebody writes to it. */
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r, "%s: not a plain file", r->filename);
        return HTTP_FORBIDDEN;
    }
    if (r->method_number == M_INVALID) {
        /* Allow lists the names httpd knows among these bits, so all bits give it every method that would run. TRACE is
         * httpd's own, which adds it where it is enabled. */
        r->allowed_methods->method_mask = r->allowed = ~(AP_METHOD_BIT << M_INVALID | AP_METHOD_BIT << M_TRACE);
        return HTTP_METHOD_NOT_ALLOWED;
    }
    if (r->used_path_info == AP_REQ_REJECT_PATH_INFO && r->path_info && *r->path_info) {
        ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r, "AcceptPathInfo Off refuses what follows the page: %s",
                      r->path_info);
        return HTTP_NOT_FOUND;
    }
    return plua_rs_serve(r, ap_get_module_config(r->server->module_config, &plua_module),
                         ap_get_module_config(r->per_dir_config, &plua_module));
}

static int plua_post_config(apr_pool_t *config, apr_pool_t *log, apr_pool_t *temporary, server_rec *main_server)
{
    (void)config;
    (void)log;
    (void)temporary;
    return plua_rs_check(main_server);
}

static void plua_child_init(apr_pool_t *child, server_rec *main_server)
{
    plua_rs_start_child(child, main_server);
}

void plua_register_hooks(apr_pool_t *pool)
{
    (void)pool;
    ap_hook_post_config(plua_post_config, NULL, NULL, APR_HOOK_MIDDLE);
    /* Before mod_dbd opens its connections: what SQLite takes is counted only if that begins before its first use. */
    ap_hook_child_init(plua_child_init, NULL, NULL, APR_HOOK_FIRST);
    ap_hook_handler(plua_handler, NULL, NULL, APR_HOOK_MIDDLE);
}

/* What a request needs between calls. A brigade's memory goes only with the request's pool, so a page that writes or
 * reads for hours must not make one for each piece. */
typedef struct {
    apr_bucket_brigade *out; /* NULL until something was passed */
    apr_bucket_brigade *in;  /* read from the client, not yet handed over */
    int in_ended;
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

int plua_break_off(request_rec *r)
{
    apr_bucket_alloc_t *buckets = r->connection->bucket_alloc;
    apr_bucket_brigade *brigade = plua_request_of(r)->out;

    if (!brigade) {
        return 0;
    }
    if (r->eos_sent || r->connection->aborted) {
        return 1;
    }
    r->connection->keepalive = AP_CONN_CLOSE;
    /* The head must be out before the error bucket, which would otherwise become a response of its own. The chunk
     * filter leaves out the last chunk, and mod_http2 resets the stream, for this status only: a broken gateway. */
    plua_pass(r, NULL, 0, PLUA_FLUSH);
    APR_BRIGADE_INSERT_TAIL(brigade, ap_bucket_error_create(HTTP_BAD_GATEWAY, NULL, r->pool, buckets));
    APR_BRIGADE_INSERT_TAIL(brigade, apr_bucket_eos_create(buckets));
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
