// The campaigns on toy-factory-one: see campaign.test.ts.

import { campaignTests } from "../../campaign/suite.ts";

campaignTests("toy-factory-one");
