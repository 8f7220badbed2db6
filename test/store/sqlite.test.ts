/** The queue's promises, kept by SQLite. */
import { onTestFinished } from "vitest";
import { openSqliteStore } from "../../src/store/sqlite/open.ts";
import { type Backend, describeContract } from "./contract.ts";
import { newFolder } from "./make.ts";
import { describeReports } from "./reports-contract.ts";

const sqlite: Backend = {
  async open(clock) {
    const options = { folder: newFolder(), clock, emit: () => {}, minimumFree: 0, settlementReserve: 0 };
    let store = await openSqliteStore(options);
    onTestFinished(() => store.close());
    return {
      store,
      async reopen() {
        await store.close();
        store = await openSqliteStore(options);
        return store;
      },
    };
  },
};

describeContract("sqlite", sqlite);
describeReports("sqlite", sqlite);
