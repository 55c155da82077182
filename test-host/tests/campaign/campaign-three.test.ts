// The campaigns on toy-three: see campaign.test.ts.

import { campaignTests } from "../../campaign/suite.ts";

campaignTests("toy-three");
