"""Categories of the Amazon review collections with the counts that their publishers give, before any filter."""

AMAZON_2014 = """\
Amazon_Instant_Video 583933
Apps_for_Android 2638172
Automotive 1373768
Baby 915446
Beauty 2023070
Books 22507155
CDs_and_Vinyl 3749004
Cell_Phones_and_Accessories 3447249
Clothing_Shoes_and_Jewelry 5748920
Digital_Music 836006
Electronics 7824482
Grocery_and_Gourmet_Food 1297156
Health_and_Personal_Care 2982326
Home_and_Kitchen 4253926
Kindle_Store 3205467
Movies_and_TV 4607047
Musical_Instruments 500176
Office_Products 1243186
Patio_Lawn_and_Garden 993490
Pet_Supplies 1235316
Sports_and_Outdoors 3268695
Tools_and_Home_Improvement 1926047
Toys_and_Games 2252771
Video_Games 1324753
"""
"""Category and ratings."""

AMAZON_2018 = """\
AMAZON_FASHION 186637 883636
All_Beauty 32992 371345
Appliances 30459 602777
Arts_Crafts_and_Sewing 303426 2875917
Automotive 932019 7990166
Books 2935525 51311621
CDs_and_Vinyl 544442 4543369
Cell_Phones_and_Accessories 590269 10063255
Clothing_Shoes_and_Jewelry 2685059 32292099
Digital_Music 465392 1584082
Electronics 786868 20994353
Gift_Cards 1548 147194
Grocery_and_Gourmet_Food 287209 5074160
Home_and_Kitchen 1301225 21928568
Industrial_and_Scientific 167524 1758333
Kindle_Store 493859 5722988
Luxury_Beauty 12308 574628
Magazine_Subscriptions 3493 89689
Movies_and_TV 203970 8765568
Musical_Instruments 120400 1512530
Office_Products 315644 5581313
Patio_Lawn_and_Garden 279697 5236058
Pet_Supplies 206141 6542483
Prime_Pantry 10815 471614
Software 26815 459436
Sports_and_Outdoors 962876 12980837
Tools_and_Home_Improvement 571982 9015203
Toys_and_Games 634414 8201231
Video_Games 84893 2565349
"""
"""Category, products described, and ratings."""

AMAZON_2023 = """\
All_Beauty 632000 112600 693900
Amazon_Fashion 2000000 825900 2500000
Appliances 1800000 94300 2100000
Arts_Crafts_and_Sewing 4600000 801300 8800000
Automotive 8000000 2000000 19700000
Baby_Products 3400000 217700 6000000
Beauty_and_Personal_Care 11300000 1000000 23600000
Books 10300000 4400000 29100000
CDs_and_Vinyl 1800000 701700 4800000
Cell_Phones_and_Accessories 11600000 1300000 20600000
Clothing_Shoes_and_Jewelry 22600000 7200000 65200000
Digital_Music 101000 70500 128800
Electronics 18300000 1600000 43400000
Gift_Cards 132700 1100 149900
Grocery_and_Gourmet_Food 7000000 603200 14100000
Handmade_Products 586600 164700 656100
Health_and_Household 12500000 797400 25300000
Health_and_Personal_Care 461700 60300 488200
Home_and_Kitchen 23200000 3700000 66600000
Industrial_and_Scientific 3400000 427500 5100000
Kindle_Store 5600000 1600000 25300000
Magazine_Subscriptions 60100 3400 70900
Movies_and_TV 6500000 747800 17200000
Musical_Instruments 1800000 213600 3000000
Office_Products 7600000 710400 12700000
Patio_Lawn_and_Garden 8600000 851700 16300000
Pet_Supplies 7800000 492700 16600000
Software 2600000 89200 4800000
Sports_and_Outdoors 10300000 1600000 19300000
Subscription_Boxes 15200 641 16000
Tools_and_Home_Improvement 12200000 1500000 26600000
Toys_and_Games 8100000 890700 16300000
Unknown 23100000 13200000 63800000
Video_Games 2800000 137200 4600000
"""
"""Category, users, items and ratings, as rounded by the publisher.

Ratings are counted after the publisher removed duplicates, except for Toys_and_Games, Unknown and Video_Games, where
they are counted before.
"""
