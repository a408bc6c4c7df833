/* mod_plua's hooks, and the parts of httpd that exist only as C macros. Decisions are made in Rust. */

#include "plua_shim.h"

#include <string.h>

#include <apr_buckets.h>
#include <util_filter.h>

/* The name AddHandler and SetHandler use; httpd has put theirs into lower case. */
#define PLUA_HANDLER "plua"

APLOG_USE_MODULE(plua);

static int plua_handler(request_rec *r)
{
    if (!r->handler || strcmp(r->handler, PLUA_HANDLER) != 0 || r->finfo.filetype != APR_REG) {
        return DECLINED; /* not ours, or httpd's own to refuse: a missing file, a directory */
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
    ap_hook_child_init(plua_child_init, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_handler(plua_handler, NULL, NULL, APR_HOOK_MIDDLE);
}

/* The one brigade of a request: a brigade's memory goes only with the request's pool, so a page that writes for hours
 * must not make one for each piece. */
static apr_bucket_brigade *plua_brigade(request_rec *r)
{
    apr_bucket_brigade *brigade = ap_get_module_config(r->request_config, &plua_module);

    if (!brigade) {
        brigade = apr_brigade_create(r->pool, r->connection->bucket_alloc);
        ap_set_module_config(r->request_config, &plua_module, brigade);
    }
    return brigade;
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
    apr_bucket_brigade *brigade = ap_get_module_config(r->request_config, &plua_module);

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

void plua_log_request(int level, const request_rec *r, const char *line, apr_size_t length)
{
    ap_log_rerror(APLOG_MARK, level, 0, r, "%.*s", (int)length, line);
}

void plua_log_server(int level, const server_rec *server, const char *line, apr_size_t length)
{
    ap_log_error(APLOG_MARK, level, 0, server, "%.*s", (int)length, line);
}
