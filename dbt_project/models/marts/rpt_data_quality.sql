with

repairs as (

    select
        entity,
        _delivery_id,
        sum(rows_count) as values_repaired
    from {{ ref('value_repairs') }}
    group by all

),

final as (

    select
        balance.entity,
        balance._delivery_id as delivery_id,
        balance.rows_in,
        balance.rows_kept,
        balance.rows_quarantined,
        balance.rows_unreadable,
        cast(coalesce(repairs.values_repaired, 0) as bigint) as values_repaired,
        case when balance.rows_in > 0 then balance.rows_quarantined / balance.rows_in end as quarantined_ratio
    from {{ ref('row_balance') }} as balance
    left join repairs on balance.entity = repairs.entity and balance._delivery_id = repairs._delivery_id

)

select * from final
