/**
 * What the relay's own messages give as the listener they came in by: for notices, and for TLS reports. No configured listener may
 * be called so, or what a client hands in would pass for ours.
 */
export const NOTICE_LISTENER = "postern";

/** Their sessions are not counted, no notice is made of them, and they go out whatever TLS says (RFC 8460 §3, §5.3). */
export const REPORT_LISTENER = "tls-report";
