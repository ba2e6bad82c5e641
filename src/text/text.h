/* What the text folder says about itself. */
#ifndef KR_TEXT_TEXT_H
#define KR_TEXT_TEXT_H

/* The libraries it was built with, "pcre2 10.42 utf8proc 2.8.0", or "off" in a build without text. */
const char *kr_text_info(void);

#endif
