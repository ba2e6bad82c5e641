/* What downloads, for krait_build_info(). */
#ifndef KR_HUB_HUB_INFO_H
#define KR_HUB_HUB_INFO_H

/* "curl 7.88.1", or "off". */
const char *kr_hub_info(void);

#endif
