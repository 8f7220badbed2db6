/** Stories of TLS reports and DKIM (RFC 8460, RFC 6376), each with a relay whose clock is moved. */
import type { Story } from "../scenario.ts";
import { dayStories } from "./day-stories.ts";
import { dkimStories } from "./dkim-stories.ts";
import { mailStories } from "./mail-stories.ts";
import { timeStories } from "./time-stories.ts";

export const REPORT_STORIES: readonly Story[] = [...dayStories, ...mailStories, ...timeStories, ...dkimStories];
