// The campaigns on toy-two: see campaign.test.ts.

import { campaignTests } from "../../campaign/suite.ts";

campaignTests("toy-two");
