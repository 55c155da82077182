// The campaigns on toy-factory-two: see campaign.test.ts.

import { campaignTests } from "../../campaign/suite.ts";

campaignTests("toy-factory-two");
