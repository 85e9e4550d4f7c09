//! What frontiers announce of a table.

use balcony_store::sqlx::{AssertSqlSafe, Connection as _, Executor as _, SqliteConnection};
use serde_json::json;

use crate::world::Hippo;

#[tokio::test]
async fn a_table_that_grows_is_announced_once_for_each_state() {
    let config = r#"
[[frontier]]
name = "sales"
table = "orders"
database = "shop.db"
column = "number"

[[step]]
name = "count"
subscribe = ["frontier-adw"]
command = ["sh", "-c", "echo $MESSAGE_PARTITION"]
"#;
    let mut hippo = Hippo::embedded(config);
    let url = format!("sqlite://{}?mode=rwc", hippo.path("shop.db").display());
    let mut shop = SqliteConnection::connect(&url).await.unwrap();
    shop.execute("CREATE TABLE orders (number BIGINT)").await.unwrap();
    hippo.start();
    for (number, jobs) in [(3, 1), (8, 2)] {
        shop.execute(AssertSqlSafe(format!("INSERT INTO orders VALUES ({number})"))).await.unwrap();
        hippo.finished("count", jobs).await;
        hippo.kill();
        hippo.start();
    }
    shop.execute("INSERT INTO orders VALUES (9)").await.unwrap();
    hippo.finished("count", 3).await;
    hippo.stop();
    let announced: Vec<_> = hippo
        .messages("frontier-adw")
        .into_iter()
        .map(|mut one| {
            assert_eq!((&one["db"], &one["table"]), (&json!("shop"), &json!("orders")));
            (one["method"].take(), one["partition"][0]["value"].take())
        })
        .collect();
    assert_eq!(
        announced,
        [(json!("insert"), json!("3")), (json!("update"), json!("8")), (json!("update"), json!("9"))]
    );
}
