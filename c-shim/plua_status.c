/* Where the status of the server is asked for: by a handler of its own, and by mod_status. */

#include "plua_shim.h"

#include <string.h>

#include <apr_optional_hooks.h>
#include <mod_status.h>

APLOG_USE_MODULE(plua);

/* The name SetHandler uses. */
#define PLUA_STATUS "plua-status"

static int plua_status_handler(request_rec *r)
{
    if (!r->handler || strcmp(r->handler, PLUA_STATUS) != 0) {
        return DECLINED;
    }
    r->allowed = (AP_METHOD_BIT << M_GET) | (AP_METHOD_BIT << M_POST);
    return plua_rs_status(r, ap_get_module_config(r->server->module_config, &plua_module));
}

static int plua_status_part(request_rec *r, int flags)
{
    const char *part = plua_rs_status_part(r, ap_get_module_config(r->server->module_config, &plua_module),
                                           flags & AP_STATUS_SHORT);

    if (part) {
        ap_rputs(part, r);
    }
    return OK;
}

void plua_status_register_hooks(void)
{
    ap_hook_handler(plua_status_handler, NULL, NULL, APR_HOOK_MIDDLE);
    APR_OPTIONAL_HOOK(ap, status_hook, plua_status_part, NULL, NULL, APR_HOOK_MIDDLE);
}
